"""Tell three sorts of wine apart, by a network: python docs/tutorials/train_pytorch.py OUT.onnx [WIDTH]"""

# needs: torch onnxscript sklearn

import sys

import torch
from sklearn.datasets import load_wine
from torch import nn

out, width = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8
torch.manual_seed(7)

x, y = (torch.from_numpy(array) for array in load_wine(return_X_y=True))
order = torch.randperm(len(x))
x, y = x[order].float(), y[order]
x_train, x_test, y_train, y_test = x[:130], x[130:], y[:130], y[130:]


class Wine(nn.Module):
    """What scales the features is a part of the model, so that callers send them as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", x_train.mean(0))
        self.register_buffer("scale", x_train.std(0))
        self.layers = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers((features - self.mean) / self.scale)


model = Wine()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(200):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x_train), y_train).backward()
    optimizer.step()
right = (model(x_test).argmax(1) == y_test).sum()
print(f"{right} of {len(x_test)} wines that were held out are right")

# The softmax belongs to serving, and a batch axis that is named may have any size.
served = nn.Sequential(model, nn.Softmax(dim=1)).eval()
rows = {0: torch.export.Dim("rows")}
torch.onnx.export(
    served,
    (x_test[:2],),
    out,
    input_names=["features"],
    output_names=["probabilities"],
    dynamic_shapes=(rows,),
    external_data=False,
    verbose=False,
)
