"""Model files in an object store: a real S3 server, its failures, and the folder before it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from streamflow.errors import ModelError, ModelsUnreachable, SettingsError
from streamflow.inference.card import InputType, ModelCard, ModelInput, Task
from streamflow.inference.files import digest_of, files_of
from streamflow.inference.models import Models
from streamflow.inference.onnx_adapter import refuse_providers
from tests.inference.object_store import Store, object_store
from tests.inference.trained import regression

URL = "s3://shop/models"
MODEL = json.dumps({"weights": [[2.0]], "intercepts": [1.0]}).encode()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_store(monkeypatch) as made:
        yield made


def card(data: bytes, **facts: Any) -> ModelCard:
    known = {"digest": digest_of(data), "size_bytes": len(data), "inputs": (ModelInput("x", InputType.NUMBER),)}
    return ModelCard(**{"name": "m", "version": "1", "format": "linear", "task": Task.REGRESSION, **known, **facts})


def test_files_travel_through_the_store_and_are_what_their_digest_says(store: Store, tmp_path: Path) -> None:
    there = files_of(tmp_path / "trainer", URL, 1 << 20)
    digest = there.add(MODEL)
    assert store.files() == [f"models/{digest}"]
    assert there.place(digest) == f"{URL}/{digest}"
    here = files_of(tmp_path / "worker", URL, 1 << 20)
    loaded = Models(here, 1 << 20).get(card(MODEL))
    assert [column.tolist() for column in loaded.predict([np.array([2.0])])] == [[5.0]]
    with pytest.raises(ModelError, match=r"s3://shop/models/.*, is not there: add the model again"):
        here.read(card(b"another"))
    # Somebody puts another file in its place: of another length, and of the same.
    for data, said in ((MODEL + b" ", r"has \d+ bytes and not \d+"), (MODEL[::-1], "its digest differs")):
        store.client.put_object(Bucket="shop", Key=f"models/{digest}", Body=data)
        with pytest.raises(ModelError, match=said):
            files_of(tmp_path / "third", URL, 1 << 20).read(card(MODEL))
    # What the disk has spoilt is fetched again.
    store.client.put_object(Bucket="shop", Key=f"models/{digest}", Body=MODEL)
    (tmp_path / "worker" / digest).write_bytes(b"spoilt")
    assert here.read(card(MODEL)) == MODEL
    assert (tmp_path / "worker" / digest).read_bytes() == MODEL
    # A folder that takes nothing is a cache less, no reason to stop.
    (tmp_path / "full").write_bytes(b"")
    assert files_of(tmp_path / "full", URL, 1 << 20).read(card(MODEL)) == MODEL


def test_the_folder_is_bounded_and_serves_while_the_store_is_away(store: Store, tmp_path: Path) -> None:
    contents = [bytes([number]) * 1_000 for number in range(5)]
    here = files_of(tmp_path, URL, 2_500)
    for number, data in enumerate(contents[:3]):
        os.utime(tmp_path / here.add(data), (number, number))  # the clock of files is too coarse for this test
    here.read(card(contents[0]))
    for data in contents[3:]:
        here.add(data)
    names = {digest_of(data): number for number, data in enumerate(contents)}
    assert sorted(names[each.name] for each in tmp_path.iterdir()) == [0, 3, 4], "the least recently used ones left"
    assert here.read(card(contents[1])) == contents[1], "the store has them all"
    store.server.stop()
    assert here.read(card(contents[1])) == contents[1]
    with pytest.raises(ModelsUnreachable, match="s3://shop/models does not get"):
        here.read(card(contents[2]))


def test_a_newer_version_that_cannot_be_fetched_is_tried_again(store: Store, tmp_path: Path) -> None:
    here = files_of(tmp_path / "worker", URL, 1 << 20)
    models, newer = Models(here, 1 << 20), card(MODEL)
    assert not models.is_ready(newer), "it is not there"
    files_of(tmp_path / "trainer", URL, 1 << 20).add(MODEL)
    assert not models.is_ready(newer), "what was not there is not looked for again"
    models = Models(here, 1 << 20, retry_s=0.0)
    store.server.stop()
    assert not models.is_ready(newer)
    store.server = ThreadedMotoServer("127.0.0.1", store.port, verbose=False)
    store.server.start()
    assert models.is_ready(newer)


def test_what_cannot_be_a_store_is_refused(tmp_path: Path) -> None:
    for url, said in (
        ("ftp://x/y", "begin it with s3://"),
        ("s3://", "begin it with s3://"),
        ("s3://key:secret@bucket/x", "has credentials in it"),
    ):
        with pytest.raises(SettingsError, match=said):
            files_of(tmp_path, url, 1 << 20)


def test_execution_providers_that_are_not_there_are_refused_with_what_is(tmp_path: Path) -> None:
    trained = regression()
    made = card(trained.data, format="onnx", task=trained.task, inputs=trained.inputs)
    files = files_of(tmp_path, "", 1)
    files.add(trained.data)
    plain = Models(files, 1 << 20, providers=("CPUExecutionProvider",)).get(made)
    assert plain.card.options == {}
    for models, model in (
        (Models(files, 1 << 20, providers=("CUDAExecutionProvider", "CPUExecutionProvider")), made),
        (
            Models(files, 1 << 20),
            card(
                trained.data,
                **{"format": "onnx", "task": trained.task, "inputs": trained.inputs},
                options={"providers": ["CUDAExecutionProvider"]},
            ),
        ),
    ):
        with pytest.raises(
            ModelError, match=r"no CUDAExecutionProvider here, it has .*CPUExecutionProvider.*onnxruntime-gpu"
        ):
            models.get(model)
    with pytest.raises(ModelError, match="onnxruntime-gpu"):
        refuse_providers(["CUDAExecutionProvider"])
