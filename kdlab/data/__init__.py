"""Data sets with a stable example index, their splits, and their slices (named test sets)."""

from kdlab.data.dataset import Dataset, Examples, Slice
from kdlab.data.loading import dataset_errors, load_dataset, slice_errors

__all__ = ["Dataset", "Examples", "Slice", "dataset_errors", "load_dataset", "slice_errors"]
