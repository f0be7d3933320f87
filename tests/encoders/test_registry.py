"""The registry: every family has options and a loader, and only what belongs to the encoder reaches it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from tamis.encoders.registry import _LOADERS, encoder_families, encoder_options, open_encoder
from tamis.errors import UnknownNameError, UsageError
from tamis.families import Address, family

Save = Callable[..., Path]


@pytest.mark.parametrize("name", encoder_families())
def test_a_family_has_options_and_a_loader(name: str) -> None:
    options = encoder_options(name)
    options()
    assert callable(_LOADERS.module(name).load)
    for field in fields(options):
        assert field.metadata["help"], field.name
    assert not fields(options) or any(field.metadata["scope"] == "model" for field in fields(options))


@pytest.mark.parametrize("name", encoder_families())
def test_the_stage_s_options_hold_the_encoder_s(name: str) -> None:
    """So that an address which is right for one is right for the other, and means the same model."""
    stage = {field.name: field.metadata["scope"] for field in fields(family(name).Options)}
    for field in fields(encoder_options(name)):
        assert stage[field.name] == field.metadata["scope"], field.name


def test_unknown_names_are_told_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'densee'.*'dense'"):
        encoder_options("densee")
    with pytest.raises(UnknownNameError, match="family of encoders 'bm25'"):
        open_encoder("bm25")


def test_an_encoder_gets_its_own_options_and_an_address_of_the_model(tmp_path: Path, sentence_model: Save) -> None:
    folder = sentence_model(tmp_path / "model")
    encoder = open_encoder(f"dense:{folder}?max_length=9&store=float16&part=x&device=cpu")
    assert encoder.identity.address == f"dense:{folder}?max_length=9"
    assert encoder.encode_queries(["the " * 20]).truncated == 1
    same = open_encoder(Address("dense", str(folder), None, (("max_length", "9"),)))
    assert same.identity == encoder.identity
    with pytest.raises(UsageError, match="whole number"):
        open_encoder(f"dense:{folder}?max_length=nine")


def test_options_are_looked_at_without_loading_a_library() -> None:
    code = (
        "import sys\nfrom tamis.encoders.registry import encoder_families, encoder_options\n"
        "for name in encoder_families(): encoder_options(name)\n"
        "print([name for name in ('torch', 'transformers', 'tokenizers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
