"""Trains a network with PyTorch and a small BERT with Transformers, and exports both to ONNX with what they give.

Made `network.onnx` and `bert.onnx` of this folder, with torch 2.15, onnxscript 0.7 and transformers 4.57:

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch onnxscript transformers
    /tmp/torch/bin/python tests/inference/exported/with_torch.py tests/inference/exported
"""

import json
import sys
from pathlib import Path

import onnx
import torch
from transformers import BertConfig, BertForSequenceClassification


def export(model: torch.nn.Module, rows: torch.Tensor, folder: Path, name: str) -> None:
    """Write the model, and what it gives for 40 rows."""
    model = model.eval()
    # A sample of two rows or more: of one, torch would take the number of rows for a constant.
    made = torch.onnx.export(
        model, (rows[:2],), dynamo=True, dynamic_shapes=({0: "rows"},), external_data=False, verbose=False
    )
    document = made.model_proto
    for node in document.graph.node:
        del node.metadata_props[:]  # lines of source code, with the paths of this machine
    del document.graph.metadata_props[:]
    onnx.save(document, folder / f"{name}.onnx")
    with torch.no_grad():
        given = model(rows[:40])
    shown = [[round(value, 1) for value in row] for row in rows[:40].tolist()]
    (folder / f"{name}.json").write_text(json.dumps({"rows": shown, "gives": given.tolist()}) + "\n")


def trained(model: torch.nn.Module, rows: torch.Tensor, target: torch.Tensor, rounds: int) -> None:
    """Fit the logits of a model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(rounds):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(rows), target).backward()
        optimizer.step()
    print("right:", (model(rows).argmax(dim=1) == target).float().mean().item())


class Logits(torch.nn.Module):  # type: ignore[misc]
    """A classifier of Transformers over tokens, 0 where a text has ended."""

    def __init__(self, classifier: torch.nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of rows of tokens."""
        return self.classifier(input_ids=tokens, attention_mask=(tokens != 0).long()).logits


def main(folder: Path) -> None:
    """Both models. A classifier of streamflow gives probabilities: hence a softmax behind each."""
    torch.manual_seed(7)
    rows = torch.round(torch.randn(600, 4), decimals=1)
    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    trained(network, rows, (rows[:, 0] * rows[:, 1] > 0).long() + (rows[:, 2] > 1).long(), 600)
    export(torch.nn.Sequential(network, torch.nn.Softmax(dim=1)), rows, folder, "network")
    tokens = torch.randint(3, 40, (800, 12))
    for row, length in enumerate(torch.randint(4, 13, (800,)).tolist()):
        tokens[row, length:] = 0
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        num_labels=2,
    )
    bert = Logits(BertForSequenceClassification(config))
    trained(bert, tokens, ((tokens % 10) == 7).any(dim=1).long(), 150)
    export(torch.nn.Sequential(bert, torch.nn.Softmax(dim=1)), tokens, folder, "bert")


main(Path(sys.argv[1]))
