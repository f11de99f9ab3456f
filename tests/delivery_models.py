"""Small models to deliver: numbers with gaps, text with gaps, and each kind of task."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from training_tables import COLUMNS, OTHERS, make_table

from loopline.components.data.schema import Schema
from loopline.components.data.tables import write_table
from loopline.components.training.train import train_boosted_trees


def train_small(folder: Path, target: str = "late", rounds: int = 5) -> Path:
    """Train a few trees; returns the model directory, whose model is called ``small-<target>``."""
    table, schema, model = folder / "train.parquet", folder / "schema.json", folder / f"model-{target}"
    write_table(table, make_table(1000, 1))
    Schema(COLUMNS).save(schema)
    train_boosted_trees(
        table, None, schema, model, target=target, exclude=OTHERS[target], rounds=rounds, name=f"small-{target}"
    )
    return model


def another_key() -> str:
    """Return a private key that nobody trusts, as PEM."""
    pem = serialization.Encoding.PEM
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
