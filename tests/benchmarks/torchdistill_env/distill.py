"""One point with torchdistill: its training box, KDLoss, data loaders and log, its teacher online. One process a point.

What its example script does for one point: train, validate after every epoch, keep the best weights, and measure the
test set at the end. Runs in an environment of its own (make.py), with the stand-in for torchvision on its path.

    python distill.py --work FOLDER --steps 2000 --temperature 4 --alpha 0.9
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401 - torchdistill looks among the modules that are imported already
from networks import cnn1d, student, take_over
from torch.utils.data import RandomSampler, SequentialSampler, TensorDataset
from torchdistill.common.main_util import load_ckpt, save_ckpt, set_seed
from torchdistill.core.distillation import get_distillation_box
from torchdistill.datasets.util import build_data_loader
from torchdistill.misc.log import MetricLogger, SmoothedValue, set_basic_log_config

BATCH = 100


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder of data.npz and teacher.pt")
    parser.add_argument("--width", type=int, required=True, help="of the teacher")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--alpha", type=float, required=True, help="weight of the soft targets")
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--weight-decay", type=float, required=True)
    return parser.parse_args()


def config(args: argparse.Namespace, *, epochs: int) -> dict:
    """Its configuration. Its alpha weighs the hard labels."""
    loader = {"kwargs": {"batch_size": BATCH, "num_workers": 0}}
    shuffled = {"sampler": {"class_or_func": RandomSampler}} | loader
    in_order = {"sampler": {"class_or_func": SequentialSampler}} | loader
    term = {
        "key": "KDLoss",
        "kwargs": {"student_module_path": ".", "student_module_io": "output", "teacher_module_path": ".",
                   "teacher_module_io": "output", "temperature": args.temperature, "alpha": 1 - args.alpha,
                   "reduction": "batchmean"},
    }  # fmt: skip
    return {
        "log_freq": 1000,
        "num_epochs": epochs,
        "train_data_loader": {"dataset_id": "train", **shuffled},
        "val_data_loader": {"dataset_id": "validation", **in_order},
        "teacher": {"forward_proc": "forward_batch_only", "sequential": [], "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "sequential": [], "requires_grad": True},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": args.lr, "weight_decay": args.weight_decay}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": term, "weight": 1.0}}},
        },
    }


def epoch_of(box, *, number: int, log_every: int) -> None:
    """One epoch with its meters, as its examples have it."""
    log = MetricLogger(delimiter="  ")
    log.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
    log.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
    for inputs, targets, extra in log.log_every(box.train_data_loader, log_every, f"Epoch: [{number}]"):
        started = time.time()
        loss = box.forward_process(inputs, targets, extra)
        box.post_forward_process(loss=loss)
        log.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        log.meters["img/s"].update(len(inputs) / (time.time() - started))


@torch.inference_mode()
def accuracy(network: torch.nn.Module, loader) -> float:
    network.eval()
    log = MetricLogger(delimiter="  ")
    right = 0
    for inputs, targets in log.log_every(loader, 1000, "Validation:"):
        right += int((network(inputs).argmax(1) == targets).sum())
    return right / len(loader.dataset)


def main() -> None:
    started = time.perf_counter()
    args = asked()
    set_basic_log_config()
    set_seed(0)
    data = np.load(args.work / "data.npz")
    sets = {
        name: TensorDataset(*(torch.from_numpy(data[f"{name}_{part}"]) for part in ("inputs", "labels")))
        for name in ("train", "validation", "test")
    }
    epochs, rest = divmod(args.steps, len(sets["train"]) // BATCH)
    if rest:
        raise ValueError(f"--steps {args.steps}: whole epochs of {len(sets['train']) // BATCH} are needed")
    teacher = take_over(cnn1d(args.width, norm=True), torch.load(args.work / "teacher.pt")).eval()
    network = student()
    told = config(args, epochs=epochs)
    box = get_distillation_box(teacher, network, sets, told, torch.device("cpu"), None, False, 1)
    ready = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        best, kept = -1.0, str(Path(folder) / "best.pt")
        for number in range(box.num_epochs):
            box.pre_epoch_process(epoch=number)
            epoch_of(box, number=number, log_every=told["log_freq"])
            found = accuracy(network, box.val_data_loader)
            if found > best:
                best = found
                save_ckpt(network, box.optimizer, box.lr_scheduler, best, None, kept)
            box.post_epoch_process()
        trained = time.perf_counter()
        load_ckpt(kept, model=network)
    test = build_data_loader(sets["test"], {**told["val_data_loader"], "dataset_id": "test"}, False)
    print(json.dumps({"validation": best, "test": accuracy(network, test), "train_seconds": trained - ready,
                      "seconds": time.perf_counter() - started, "steps": box.stage_grad_count,
                      "torch": torch.__version__, "threads": torch.get_num_threads()}))  # fmt: skip


if __name__ == "__main__":
    main()
