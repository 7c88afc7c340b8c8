"""Exported folders on the Hugging Face Hub: pushed and pulled by its own client, huggingface_hub (extra `hub`).

Who may push is the client's affair: `hf auth login`, or the variable HF_TOKEN.
"""

from pathlib import Path
from typing import Any

PREFIX = "hub:"
WANTED = ("*.json", "*.safetensors", "README.md")
"""What is pulled of a repository; a model is nothing else."""


def client() -> Any:
    """huggingface_hub.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("the Hub needs huggingface_hub: pip install 'anila[hub]'") from None
    return huggingface_hub


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload an exported folder; the repository is made if it is not there.

    Args:
        folder: Made by `anila export`.
        name: OWNER/NAME.
        private: Whether a repository made now is seen by its owner only.

    Returns:
        What `anila.load` takes.

    Raises:
        ImportError: If the extra is not installed.
        ValueError, OSError: As the client has it: name, permission, network.
    """
    api = client().HfApi(library_name="anila")
    api.create_repo(repo_id=name, private=private, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=list(WANTED), commit_message="Model by anila")
    return PREFIX + name


def pull(source: str) -> Path:
    """The folder of a repository in the client's cache, downloaded if it is not there.

    Args:
        source: "hub:OWNER/NAME", or "hub:OWNER/NAME@REVISION".

    Raises:
        ImportError: If the extra is not installed.
        ValueError, OSError: As the client has it: no such repository, network.
    """
    name, _, revision = source.removeprefix(PREFIX).replace("\\", "/").partition("@")  # a path of Windows, by then
    return Path(client().snapshot_download(name, revision=revision or None, allow_patterns=list(WANTED)))
