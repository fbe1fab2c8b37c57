"""Files from the Hugging Face hub, fetched once."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 3.0  # to find out whether the hub can be reached; its own client tries for 23


def fetch(repository: str, filename: str, *, instead: str) -> Path:
    """A file of a repository: from the cache, or else downloaded into it.

    The cache is huggingface_hub's: `~/.cache/huggingface/hub`, or where HF_HOME says.

    Args:
      repository: "timm/seresnet50.a1_in1k".
      filename: "model.safetensors".
      instead: what to do with a file that was downloaded by hand, for the error.

    Raises:
      FileNotFoundError: it is not in the cache, and the hub has no such file or is out of reach,
        which is found out within seconds. Says what to download from where.
      ImportError: huggingface_hub is not installed.
    """
    hub = _hub(f"{repository} is to be fetched")
    cache = hub.constants.HF_HUB_CACHE
    cached = hub.try_to_load_from_cache(repository, filename, cache_dir=cache)
    if isinstance(cached, str):
        return Path(cached)
    url = hub.hf_hub_url(repository, filename)
    by_hand = f"Download {url} where you can, and {instead}"
    if hub.constants.HF_HUB_OFFLINE:
        raise FileNotFoundError(
            f"{repository} is not in the cache, and HF_HUB_OFFLINE forbids fetching it. {by_hand}"
        )
    if fault := _unreachable(url):
        raise FileNotFoundError(
            f"{repository} is not in the cache, and the hub cannot be reached ({fault}). {by_hand}"
        )
    try:
        return Path(hub.hf_hub_download(repository, filename, cache_dir=cache, etag_timeout=10))
    except (OSError, ValueError) as error:  # all that the hub raises are one or the other
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{filename} of {repository} cannot be fetched ({reason[:300]}). {by_hand}"
        ) from error


def _unreachable(url: str) -> str:
    """Why nothing answers at an address; "" if something does, be it a refusal."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        return str(getattr(error, "reason", error))
    return ""


def _hub(purpose: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
    except ImportError as error:
        raise ImportError(
            f"{purpose}, which needs a package: pip install 'senet_jax[hub]'."
        ) from error
    return huggingface_hub
