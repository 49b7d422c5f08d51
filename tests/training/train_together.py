"""Training in one or several processes: `python train_together.py OUT BATCH STEPS`."""

import sys

import torch

from tomochrome.training import TrainingConfig, train
from tomochrome.training.task_interface import RandomSamples, Task, register


class Points(RandomSamples):
    def draw(self):
        x = self.rng.random(4).astype("float32")
        return x, (x.sum(keepdims=True) ** 2)


@register("together")
class Together(Task[TrainingConfig]):
    def network(self):
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def dataset(self, stage=0):
        return Points(self.config.seed)

    def validation(self):
        return [Points(5)[k] for k in range(4)]

    def loss(self, net, batch):
        return (net(batch[0]) - batch[1]).square().mean(), {}


if __name__ == "__main__":
    out, batch, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    plan = {"name": "together", "task": "together", "network": {}, "batch": batch, "ema": 0.5,
            "learning_rate": 0.05, "validate_every": 7}  # fmt: skip
    train(plan, out=out, steps=steps, device="cpu")
