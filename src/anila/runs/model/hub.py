"""Exported folders on the Hugging Face Hub, pushed and pulled by its own client, huggingface_hub (extra `hub`).

The client handles authentication: `hf auth login`, or the variable HF_TOKEN.
"""

from pathlib import Path
from typing import Any

PREFIX = "hub:"
WANTED = ("*.json", "*.safetensors", "README.md")
"""Patterns of the files that are pulled from a repository; a model consists of nothing else."""


def client() -> Any:
    """The module huggingface_hub.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("the Hub needs huggingface_hub: pip install 'anila[hub]'") from None
    return huggingface_hub


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload an exported folder; the repository is created if it does not exist.

    Args:
        folder: Made by `anila export`.
        name: OWNER/NAME.
        private: Whether a repository created now is private.

    Returns:
        The argument for `anila.load`.

    Raises:
        ImportError: If the extra is not installed.
        ValueError, OSError: From the client: name, permission, network.
    """
    api = client().HfApi(library_name="anila")
    api.create_repo(repo_id=name, private=private, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=list(WANTED), commit_message="Model by anila")
    return PREFIX + name


def pull(source: str) -> Path:
    """The folder of a repository in the client's cache, downloaded if it is missing.

    Args:
        source: "hub:OWNER/NAME", or "hub:OWNER/NAME@REVISION".

    Raises:
        ImportError: If the extra is not installed.
        ValueError, OSError: From the client: no such repository, network.
    """
    name, _, revision = source.removeprefix(PREFIX).replace("\\", "/").partition("@")  # maybe a Windows path by now
    return Path(client().snapshot_download(name, revision=revision or None, allow_patterns=list(WANTED)))
