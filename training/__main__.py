"""``python -m training STAGE --runs DIR``: one command per stage, resumable."""

from training.cli import app

app()
