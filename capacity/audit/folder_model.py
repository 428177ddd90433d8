"""A causal language model of `transformers` as a checkpoint: a local folder with safetensors, or a
GGUF file.

No code of a checkpoint is run (`trust_remote_code` is false) and nothing is unpickled: a folder
that only has pytorch_model.bin is refused. Formats stay as stored, but for fp16 on a CPU, whose
products are slow or absent there: it becomes fp32, which holds every fp16 number, in twice the
memory; bf16 can be asked for. GGUF is dequantized to fp32. Logits are formed for few tokens at
once where the model's head is a plain map of its last hidden states, which is tried out; else for a
whole batch. Either way they are the model's own, taken to fp32.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from capacity import counts
from capacity.audit.logits import Checkpoint, with_first
from capacity.base.errors import ConfigError, one_line
from capacity.base.files import content_digest
from capacity.base.words import some
from capacity.measure.sequence_scores import of_tokens

EXTRA = "pip install 'capacity[audit]'"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
# names of safetensors' formats -> torch's; the others are of quantized models
STORED = {"F64": "float32", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
UNKNOWN_CONTEXT = 2048  # of models whose positions have no end
TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "tekken.json"),
)
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")  # of a mixture
NEVER = -1e30  # a logit whose probability is 0, and 0 times it is 0
FEWEST_ROWS = 64  # tokens whose logits are formed at once: fewer read the head's table too often
PROBE = 8  # tokens
LIBRARIES = 2**29  # bytes of Python, torch and transformers; a peak of 1.3 GiB was told as 0.8


class FolderCheckpoint(Checkpoint):
    """A model of `transformers`; `model` is its module."""

    def __init__(
        self, path: Path, name: str, device: torch.device, dtype: str | None = None
    ) -> None:
        transformers = _transformers()
        self.folder, self.gguf = (path.parent, path.name) if path.is_file() else (path, None)
        files = [path] if self.gguf else weight_files(path)
        wanted = dtype or ("float32" if self.gguf else _stored_as(files))
        notes = []
        if wanted == "float16" and device.type == "cpu":
            wanted = "float32"
            notes.append("Weights are stored in fp16; products are formed in fp32 on a CPU.")
        self.device = device
        with _quiet(transformers), _told(name):
            self.model: Any = self._loaded(transformers, wanted)
        self.tokenizer, self._no_tokenizer = self._read_tokenizer(transformers)
        config = self.model.config
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        table = self.model.get_input_embeddings().weight
        self.sliced = False
        self._rows = int(self.model.get_output_embeddings().weight.shape[0])
        unused = tuple(getattr(config, "unused_token_ids", None) or ())
        weights = sum(p.numel() for p in self.model.parameters())  # tied ones once
        head = self.model.get_output_embeddings().weight
        met = weights - (0 if head is table else table.numel())
        super().__init__(
            name=name,
            sha256=_digest(files),
            hashed=some([file.name for file in files], 3),
            function=json.dumps(config.to_dict(), sort_keys=True, default=str),
            model_type=str(config.model_type),
            parameters=weights,
            vocab_size=self._rows - len(unused),
            rows=self._rows,
            context=_context(text),
            opens_with=self._opening(config),
            unused=unused,
            dtype=wanted,
            weight_bytes=sum(p.numel() * p.element_size() for p in self.model.parameters()),
            flops_per_token=2.0 * met,
            notes=notes,
        )
        if self.opens_with is not None and self.opens_with >= len(table):
            raise ConfigError(
                f"{name}: its tokenizer does not fit: it opens a text with token "
                f"{self.opens_with}, the model has {len(table)} tokens"
            )
        self._probe(text)

    def _loaded(self, transformers: Any, dtype: str) -> Any:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            str(self.folder),
            **({"gguf_file": self.gguf} if self.gguf else {"use_safetensors": True}),
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        missing = sorted(info.get("missing_keys") or ())
        wrong = sorted(str(one) for one in info.get("mismatched_keys") or ())
        if missing or wrong:
            raise ConfigError(
                f"{self.folder}: weights are missing or of another shape, so that they would be "
                f"random: {some([*missing, *wrong], 3)}"
            )
        return model.to(self.device).eval()

    def _read_tokenizer(self, transformers: Any) -> tuple[Any, str]:
        kind = {"gguf_file": self.gguf} if self.gguf else {}
        if not self.gguf and not any((self.folder / name).is_file() for name in TOKENIZERS):
            return None, "none of its files is there"  # transformers would make an empty one up
        try:
            with _quiet(transformers):
                read = transformers.AutoTokenizer.from_pretrained(
                    str(self.folder), trust_remote_code=False, local_files_only=True, **kind
                )
                if not len(read):
                    raise ValueError("its vocabulary is empty")
            return read, ""
        except Exception as error:  # many families: no files, a package that is absent
            return None, one_line(error)

    def _opening(self, config: Any) -> int | None:
        """The token that stands before a text; without a tokenizer the model's bos_token_id."""
        if self.tokenizer is None:
            own = config.bos_token_id
            return own if isinstance(own, int) and own < self._rows else None
        plain = self._ids(["a"])[0]
        whole = self.tokenizer(["a"], add_special_tokens=True)["input_ids"][0]
        return whole[0] if len(whole) > len(plain) and whole[1 : 1 + len(plain)] == plain else None

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self._known_tokenizer()(texts, add_special_tokens=False)["input_ids"]

    def _known_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ConfigError(
                f"{self.name}: no tokenizer that can be read ({self._no_tokenizer}); give token "
                "ids in a column tokens"
            )
        return self.tokenizer

    def decode(self, ids: list[int]) -> str:
        tokenizer = self._known_tokenizer()
        return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def decoded_flops(self, length: int) -> float | None:
        """2 per weight of a matrix that a token meets, the head's among them, and attention over
        (length - 1) / 2 earlier tokens in every layer."""
        config = self.model.config
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        if any((getattr(text, name, None) or 0) > 1 for name in EXPERTS):
            return None
        try:
            layers, heads = int(text.num_hidden_layers), int(text.num_attention_heads)
            width = heads * int(getattr(text, "head_dim", None) or text.hidden_size // heads)
        except (AttributeError, TypeError, ZeroDivisionError):
            return None
        tables = {
            id(p) for m in self.model.modules() if isinstance(m, torch.nn.Embedding)
            for p in m.parameters()
        }  # fmt: skip
        head = self.model.get_output_embeddings().weight
        maps = sum(p.numel() for p in self.model.parameters() if p.ndim > 1 and id(p) not in tables)
        maps += head.numel() if id(head) in tables else 0
        return 2.0 * maps + 4.0 * layers * width * (length - 1) / 2

    def _probe(self, text: Any) -> None:
        """Whether logits are a plain map of hidden states; ConfigError where a token sees those
        behind it."""
        n = min(PROBE, self.context)
        ids = torch.arange(n, device=self.device)[None] % min(self._rows, 2**10)
        kept = (n + 1) // 2
        other = torch.cat([ids[:, :kept], (ids[:, kept:] + 1) % self._rows], 1)
        with torch.no_grad(), _told(self.name):
            logits, changed = (self.model(x, use_cache=False).logits for x in (ids, other))
            try:
                self.sliced = torch.equal(self._head(self._hidden(ids)), logits)  # of one shape
            except Exception:  # a model of another build: logits of a whole batch
                self.sliced = False
        far = (logits[:, :kept].float() - changed[:, :kept].float()).abs().max()
        rounding = 8 * torch.finfo(logits.dtype).eps  # what is masked counts exactly nothing
        if not float(far) <= rounding * float(logits.float().abs().max()):
            raise ConfigError(
                f"{self.name}: {self.model_type} is no causal language model: what it says of a "
                "token depends on the tokens behind it"
            )
        self._width = int(getattr(text, "hidden_size", None) or getattr(text, "n_embd", 0) or 4096)

    def _hidden(self, ids_BT: Tensor) -> Tensor:
        return self.model.base_model(ids_BT, use_cache=False)[0]

    def _head(self, hidden: Tensor) -> Tensor:
        return self.model.get_output_embeddings()(hidden)

    def numbers(self, tokens_BT: Tensor, first: int = 0) -> Tensor:
        tokens_BT = tokens_BT.to(self.device)
        missing = self.opens_with is None
        seen = tokens_BT[:, :-1]
        if not missing:
            opening = torch.full_like(tokens_BT[:, :1], self.opens_with or 0)
            seen = torch.cat([opening, seen], 1)
        left = max(0, first - missing)
        target = tokens_BT[:, missing:][:, left:]
        if not target.shape[1]:
            return with_first(torch.empty(len(tokens_BT), 0, 3), missing and first == 0)
        with torch.no_grad():
            states = self._hidden(seen) if self.sliced else self.model(seen, use_cache=False).logits
            parts = states[:, left:].flatten(0, 1).split(self._at_once())
            found = torch.cat(
                [
                    self._of_tokens(part, wanted)
                    for part, wanted in zip(
                        parts, target.reshape(-1).split(self._at_once()), strict=True
                    )
                ]
            )
        found = found.view(*target.shape, -1).cpu()
        return with_first(found, missing and first == 0)

    def _at_once(self) -> int:
        """Tokens whose fp32 logits are in memory together."""
        return max(FEWEST_ROWS, counts.HEAD_CHUNK[self.device.type] // self._rows)

    def _of_tokens(self, part: Tensor, target_N: Tensor) -> Tensor:
        logits = (self._head(part) if self.sliced else part).float()
        if logits.data_ptr() == part.data_ptr():  # `of_tokens` overwrites them
            logits = logits.clone()
        if self.unused:
            logits[:, list(self.unused)] = NEVER
        return of_tokens(logits, target_N)

    def memory(self, tokens: int, sequence: int) -> int:
        size = next(iter(self.model.parameters())).element_size()
        states = 24 * self._width * size * tokens
        logits = 0 if self.sliced else tokens * self._rows * size
        slices = 16 * self._at_once() * self._rows
        return int(LIBRARIES + self.weight_bytes + states + logits + slices)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that `transformers` reads of a folder; ConfigError where there are
    none, or the folder is none of a model."""
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder}: no config.json; expected a folder of a model, as "
            "`capacity export` or save_pretrained writes it"
        )
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ConfigError(f"{folder / INDEX}: not an index of safetensors files") from None
        absent = [name for name in names if not (folder / name).is_file()]
        if absent:
            raise ConfigError(f"{folder}: {some(absent, 3)} of its index is not there")
        return [folder / name for name in names]
    pickled = sorted(path.name for kind in PICKLED for path in folder.glob(kind))
    if pickled:
        raise ConfigError(
            f"{folder}: weights only as {some(pickled, 3)}, which would have to be unpickled; "
            f"expected {WEIGHTS} (save_pretrained(..., safe_serialization=True) writes it)"
        )
    raise ConfigError(f"{folder}: no weights; expected {WEIGHTS} or {INDEX}")


def _stored_as(files: list[Path]) -> str:
    """torch's name of the format that most numbers are stored in; ConfigError for codes of
    quantized weights."""
    numbers: dict[str, int] = {}
    for file in files:
        for entry in _header(file).values():
            if isinstance(entry, dict) and "shape" in entry:
                numbers[entry["dtype"]] = numbers.get(entry["dtype"], 0) + math.prod(entry["shape"])
    most = max(numbers, key=lambda name: numbers[name], default="none")
    if most not in STORED:
        raise ConfigError(
            f"{files[0]}: weights are stored as {most}; expected {', '.join(STORED)}; give the "
            "model before it was quantized, or a GGUF file"
        )
    return STORED[most]


def _header(file: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors: 8 bytes of length, then JSON."""
    try:
        with open(file, "rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > 100 * 2**20:  # the format's own limit
                raise ValueError("its header is too long")
            return json.loads(stream.read(size))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: not a safetensors file ({one_line(error)})") from None


def _digest(files: list[Path]) -> str:
    """SHA-256 of the one file, or of the names and digests of several."""
    digests = [content_digest(file) for file in files]
    if len(files) == 1:
        return digests[0]
    lines = [f"{f.name}\0{digest}\n" for f, digest in zip(files, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _context(config: Any) -> int:
    found = [getattr(config, name, None) for name in CONTEXT]
    return next((int(n) for n in found if isinstance(n, int) and n > 0), UNKNOWN_CONTEXT)


def _transformers() -> Any:
    try:  # by name: a checker of types may run where the extra is not installed
        transformers = importlib.import_module("transformers")
    except ImportError:
        raise ConfigError(
            f"a checkpoint in a folder, a GGUF file or on the hub needs transformers; {EXTRA}"
        ) from None
    # windows have no padding that is read, and its warnings would stand in the middle of a report
    transformers.utils.logging.set_verbosity_error()
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bars and no warnings of another library in the middle of a report."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the bar of dequantization knows no verbosity
            yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Another library's errors of a checkpoint as one line."""
    try:
        yield
    except ConfigError:
        raise
    except ImportError as error:
        raise ConfigError(f"{name}: {one_line(error)}; {EXTRA}") from None
    except Exception as error:  # many families: a file that is cut off, a form it does not know
        raise ConfigError(
            f"{name}: transformers cannot read it: {type(error).__name__}: {one_line(error)}"
        ) from None
