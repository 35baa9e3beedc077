"""Distillation terms a second time: slow loops in float64, written from the equations of the papers.

Nothing here imports kdlab. A per-example term returns a list of B values, a term of a whole batch one float. Where a
paper and the code its authors published differ, a knob chooses, and its default is named in the docstring.
"""
