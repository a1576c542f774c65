"""What the hub says about a model, and messages that explain its refusals. The only module that sends requests.

huggingface_hub's own session, headers, token, proxies and retries are used throughout; it is imported inside
functions, since only a download needs it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from clipcli.checkpoints import open_clip
from clipcli.checkpoints.other_formats import refusal
from clipcli.errors import ModelError, ModelNotFoundError, UnsupportedModelError
from clipcli.hub import cache
from clipcli.hub.registry import nearest_names

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_WEIGHTS = (
    re.compile(r"model\.safetensors"),
    re.compile(r"model(\.safetensors\.index\.json|-\d{5}-of-\d{5}\.safetensors)"),
    re.compile(r"pytorch_model\.bin"),
    re.compile(r"pytorch_model(\.bin\.index\.json|-\d{5}-of-\d{5}\.bin)"),
)
_CHUNK_BYTES = 1 << 18
_ROUTES = " (HTTPS_PROXY sets a proxy, HF_ENDPOINT a mirror)"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model on the hub.

    Attributes:
        name: Its path in the repository.
        size: In bytes.
        digest: The sha256 of a large file's bytes, or the git blob id of a small one; what the hub calls its ETag.
        is_sha256: Which of the two `digest` is.
    """

    name: str
    size: int
    digest: str
    is_sha256: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a model at one commit."""

    hub_id: str
    commit: str
    files: tuple[RemoteFile, ...]


def list_files(hub_id: str, revision: str) -> Listing:
    """Ask the hub for a model's files at a revision, with sizes and hashes; one request.

    Without a network it fails at once: retrying would only make a user wait for the advice to work offline.

    Raises:
        ModelError: The answer is not the hub's, or of another commit than was asked for.
        huggingface_hub.errors.HfHubHTTPError: The hub refuses.
        httpx2.TransportError: It cannot be reached.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers

    from clipcli.hub import bounds

    url = f"{constants.ENDPOINT}/api/models/{hub_id}/revision/{quote(revision, safe='')}"
    with bounds.bounded_stream(
        url,
        most=bounds.LARGEST_LISTING,
        longest_s=bounds.LONGEST_PAGE_S,
        params={"blobs": "true"},
        headers=build_hf_headers(library_name="clipcli"),
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    ) as response:
        content = bytearray()
        for chunk in response.iter_bytes(_CHUNK_BYTES):
            content += chunk
            if len(content) > bounds.LARGEST_LISTING:  # unpacked
                break
    listing = _parse_listing(hub_id, url, bytes(content))
    if cache.is_commit(revision) and listing.commit != revision:
        raise ModelNotFoundError(
            f"{constants.ENDPOINT} was asked for commit {revision} of {hub_id} and answers with {listing.commit}",
            hint='`revision="main"` takes what it has',
        )
    return listing


def needed_files(listing: Listing) -> tuple[RemoteFile, ...]:
    """What of a repository this program reads: config first, then the small files, then one kind of weights.

    Of a model of sentence-transformers, that is what makes it one, and the files of its network's folder.

    Raises:
        UnsupportedModelError: There is no config, or no weights in a format that is supported.
    """
    by_name = {file.name: file for file in listing.files}
    marker, network = cache.SENTENCE_TRANSFORMERS
    if marker in by_name and f"{network}/{cache.CONFIG}" in by_name:
        start = f"{network}/"
        inside = [replace(f, name=f.name.removeprefix(start)) for f in listing.files if f.name.startswith(start)]
        needed = needed_files(replace(listing, files=tuple(inside)))
        return (by_name[marker], *(replace(file, name=start + file.name) for file in needed))
    settings: tuple[str, ...] = (cache.CONFIG, cache.PREPROCESSOR, cache.PROCESSOR)
    kinds: Sequence[re.Pattern[str]] = _WEIGHTS
    if cache.CONFIG not in by_name:
        if open_clip.CONFIG not in by_name:
            raise refusal(listing.hub_id, by_name) or UnsupportedModelError(
                f"{listing.hub_id} has neither {cache.CONFIG} nor {open_clip.CONFIG}: not a model in a known layout",
                hint="`clip models list` names the models that are known to work",
            )
        settings, kinds = (open_clip.CONFIG,), [re.compile(re.escape(name)) for name in open_clip.WEIGHTS]
    small = [by_name[name] for name in (*settings, *cache.TOKENIZER_FILES) if name in by_name]
    for kind in kinds:
        weights = sorted((file for file in listing.files if kind.fullmatch(file.name)), key=lambda f: f.name)
        if weights:
            return (*small, *weights)
    variants = sorted(name for name in by_name if cache.is_variant(name) and not name.endswith(".json"))
    if settings[0] == cache.CONFIG and len(variants) == 1:
        return (*small, by_name[variants[0]])
    other = [name for name in sorted(by_name) if name.endswith((".bin", ".h5", ".msgpack", ".pt", ".safetensors"))]
    raise refusal(listing.hub_id, by_name) or UnsupportedModelError(
        f"{listing.hub_id} has no {cache.SAFETENSORS} or {cache.PICKLE}"
        + (f", only {', '.join(other)}" if other else "")
    )


@contextmanager
def open_stream(listing: Listing, file: RemoteFile, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open one file's bytes from an offset on.

    Redirects to other hosts are followed without the token; 429 and 5xx are asked again, after what
    `Retry-After` says, within bounds.

    Yields:
        The offset that the server really starts at (0 if it ignores ranges), and the chunks.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: The hub refuses.
        httpx2.TransportError: The connection breaks; the caller decides whether to go on from there.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    from clipcli.hub.bounds import bounded_stream

    headers = build_hf_headers(library_name="clipcli") | {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with bounded_stream(
        hf_hub_url(listing.hub_id, file.name, revision=listing.commit, endpoint=constants.ENDPOINT),
        most=file.size,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    ) as response:
        yield 0 if response.status_code == HTTPStatus.OK else offset, response.iter_bytes(_CHUNK_BYTES)


def why_unreachable(timeout_s: float) -> str | None:
    """Why the hub does not answer, or None if it does, whatever it says; one request, without the token."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=timeout_s, follow_redirects=False)
    except (httpx2.RequestError, httpx2.InvalidURL, UnicodeError) as error:  # the last: names that no host can have
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """What went wrong, without the number that the operating system has for it."""
    return re.sub(r"\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


@contextmanager
def explained(hub_id: str, revision: str) -> Iterator[None]:
    """Turn what huggingface_hub raises inside into errors that say what to do next."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(hub_id, revision, error) from error
    except httpx2.ProxyError as error:
        raise ModelNotFoundError(
            f"{hub_id} could not be fetched: the proxy does not answer ({_reason(error)})",
            hint="check HTTPS_PROXY and NO_PROXY",
        ) from error
    except (httpx2.RequestError, httpx2.InvalidURL, UnicodeError) as error:
        raise unavailable(hub_id, f"{constants.ENDPOINT} cannot be reached ({_reason(error)})") from error


def unavailable(
    hub_id: str, reason: str | None = None, *, revision: str | None = None, missing: tuple[str, ...] = ()
) -> ModelNotFoundError:
    """The error for a model that is not whole on this machine, why it was not fetched, and every way on."""
    option = f" with `revision={revision!r}`" if revision else ""
    folder = cache.repo_folder(hub_id)
    here = tuple(cache.whole_revisions(hub_id))
    if missing:
        state = f"incomplete ({folder} lacks {', '.join(missing)})"
    elif here:
        state = f"on this machine at revision {' and '.join(here)} only ({folder})"
    else:
        state = f"not on this machine (not in {folder})"
    use = f"`revision={here[0]!r}` uses what is installed; " if here else ""
    return ModelNotFoundError(
        f"{hub_id} is {state}" + (f" and {reason}" if reason else ""),
        hint=f"{use}`clip models pull {hub_id}`{option} downloads it if there is a network"
        f'{_ROUTES if reason else ""}; `model="demo"` works without a download',
        parameter="model",
        value=hub_id,
    )


def _parse_listing(hub_id: str, url: str, content: bytes) -> Listing:
    try:
        answer = json.loads(content)
        commit = _hex(answer["sha"], 40)
        files = tuple(_parse_file(sibling) for sibling in answer["siblings"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ModelError(
            f"{url} does not answer as the hub does ({type(error).__name__}: {error!s:.200})", hint="check HF_ENDPOINT"
        ) from error
    return Listing(hub_id, commit, files)


def _parse_file(sibling: Mapping[str, Any]) -> RemoteFile:
    name, large = str(sibling["rfilename"]), sibling.get("lfs")
    if large:
        return RemoteFile(name, _size(large["size"]), _hex(large["sha256"], 64), is_sha256=True)
    return RemoteFile(name, _size(sibling["size"]), _hex(sibling["blobId"], 40), is_sha256=False)


def _size(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError(f"{value!r:.80} is not a size in bytes")
    return value


def _hex(value: Any, length: int) -> str:
    """A hash, checked because it becomes a file name."""
    if not isinstance(value, str) or re.fullmatch(f"[0-9a-f]{{{length}}}", value) is None:
        raise ValueError(f"{value!r:.80} is not a hash of {length} hexadecimal digits")
    return value


def _refusal(hub_id: str, revision: str, error: "HfHubHTTPError") -> ModelError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import get_token

    status = error.response.status_code
    tokens = f"{constants.ENDPOINT}/settings/tokens"
    if isinstance(error, GatedRepoError):
        step = "the token in use has no access: " if get_token() else ""
        return ModelNotFoundError(
            f"{hub_id} is gated: its owners give access only to accounts that accepted their terms",
            hint=f"{step}accept them at {constants.ENDPOINT}/{hub_id}, make a token at {tokens} and set HF_TOKEN",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(f"{hub_id} has no revision {revision}", hint='`revision="main"` takes its newest')
    if isinstance(error, RepositoryNotFoundError) or (status == HTTPStatus.UNAUTHORIZED and not get_token()):
        return unknown_model(hub_id, f"if it is private, set HF_TOKEN to a token from {tokens}")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return ModelNotFoundError(
            f"{hub_id} could not be fetched: the hub refuses the token in use (HTTP {status})",
            hint=f"make a new one at {tokens} and set HF_TOKEN, or unset it: public models need none",
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ModelNotFoundError(
            f"{hub_id} could not be fetched: the hub limits how often it may be asked",
            hint="try again in some minutes, what was fetched is kept; with HF_TOKEN set the limit is higher",
        )
    return unavailable(hub_id, f"{constants.ENDPOINT} answers HTTP {status}")


def unknown_model(name: str, hint: str) -> ModelNotFoundError:
    """The error for a name that nobody knows, with the names that are spelled most like it."""
    nearest = nearest_names(name)
    suggestion = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return ModelNotFoundError(f"no model is named {name}", hint=suggestion + hint, parameter="model", value=name)
