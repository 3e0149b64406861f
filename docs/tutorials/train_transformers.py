"""Train a small BERT to tell praise from complaints: python docs/tutorials/train_transformers.py OUT_FOLDER [LAYERS]

The model starts from random weights, and so does without a download. With `from_pretrained(...)` in place of
`BertConfig` and of the vocabulary, the rest stays as it is.
"""

# needs: torch onnxscript transformers

import itertools
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

out, layers = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(7)

things = "shoes coat bag lamp chair phone book kettle".split()
praise, complaint = "great lovely perfect good".split(), "broken awful late bad".split()
texts = [f"the {thing} is {word}" for thing, word in itertools.product(things, praise + complaint)]
labels = torch.tensor([int(text.split()[-1] in praise) for text in texts])

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "is", "and", "not", *things, *praise, *complaint]
(out / "vocab.txt").write_text("\n".join(words) + "\n")
tokenizer = BertTokenizerFast(vocab=str(out / "vocab.txt"))
config = BertConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32
)
model = BertForSequenceClassification(config)

batch = tokenizer(texts, padding=True, return_tensors="pt")
inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(60):
    optimizer.zero_grad()
    model(**inputs, labels=labels).loss.backward()
    optimizer.step()
model.eval()
right = (model(**inputs).logits.argmax(1) == labels).sum()
print(f"{right} of {len(texts)} sentences are right")


class Served(torch.nn.Module):
    """Probabilities in place of logits, and tensors in place of a ModelOutput."""

    def __init__(self) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits.softmax(1)


rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens", max=config.max_position_embeddings)
torch.onnx.export(
    Served().eval(),
    tuple(value[:2] for value in inputs.values()),
    str(out / "model.onnx"),
    input_names=list(inputs),
    output_names=["probabilities"],
    dynamic_shapes=({0: rows, 1: tokens}, {0: rows, 1: tokens}),
    external_data=False,
    verbose=False,
)
