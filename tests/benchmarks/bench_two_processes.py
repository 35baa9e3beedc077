"""Two processes (DDP over gloo, on the CPU) train what one trains on the whole batch: weights and logged values.

No measurement, but ten seconds for one claim: it runs with the benchmarks.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TWO = """
import sys, torch, pytorch_lightning as pl, warnings, logging
from functools import partial
from torch.utils.data import DataLoader, TensorDataset
from kdlab.objectives import distillation
from kdlab.teachers import OnlineTeacher
from kdlab.training import Distillation
warnings.filterwarnings("ignore"); logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.manual_seed(0)
network = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 3))
student, teacher = network(), OnlineTeacher(network(), num_classes=3)
start = {name: value.clone() for name, value in student.state_dict().items()}
data = TensorDataset(torch.randn(40, 1, 8), torch.arange(40) % 3)
def fitted(**how):
    student.load_state_dict(start)
    module = Distillation(student, distillation(temperature=2, alpha=0.5), num_classes=3, teacher=teacher,
                          optimizer=partial(torch.optim.SGD, lr=0.1))
    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **how)
    size = 40 // how.get("devices", 1)
    trainer.fit(module, DataLoader(data, batch_size=size), DataLoader(data, batch_size=size))
    values = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return values, {name: value.clone() for name, value in student.state_dict().items()}
if __name__ == "__main__":
    one, two = fitted(devices=1), fitted(devices=2, strategy="ddp_fork")
    assert sorted(one[0]) == sorted(two[0])
    for key, value in one[0].items():
        assert abs(value - two[0][key]) <= 1e-5 * abs(value), (key, value, two[0][key])
    for name, value in one[1].items():
        assert (value - start[name]).abs().max() > 1e-3
        torch.testing.assert_close(two[1][name], value)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="two processes are forked")
def test_two_processes_train_together_as_one_does_on_the_whole_batch(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "two.py"], cwd=tmp_path, env=environment, text=True, capture_output=True,
                          timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
