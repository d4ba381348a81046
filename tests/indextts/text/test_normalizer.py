from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indextts.text.language import RuleSet, use_chinese
from indextts.text.normalizer import Normalizer
from streaming.errors import InvalidText

Case = dict[str, Any]

# The golden cases whose text the default rules read otherwise, and how.
MENDED = {
    "p056": "第一名和第二名只差零点零一秒.",
    "p059": "一百二十三万四千五百六十七点八九",
    "p089": "二零二二年十二月二十五日",
    "p114": "这个字读 lv4,不读 lu4,那个字读 NVE4.",
    "p117": "QVE4实,JVN1队,QVN2众,XV1要",
    "p118": "er2子 EN4 a5 zhi1 chi2 shi4 ri4 zi3 ci2 si4",
    "p140": "It is curly, isn't it? 'Quoted' text.",
    "p168": "GPT-五-nano 是 GPT-五家族里最小的模型.",
    "p169": "F five-TTS, Fish-Speech and CosyVoice-two are TTS systems.",
    "p170": "二零二五年九月八日 IndexTTS-二 全球发布",
    "p171": "COVID-十九 疫情从二零一九年底开始.",
    "p173": "B-二轰炸机和F-二十二战斗机",
    "p174": "iPhone-fifteen Pro-Max costs nine hundred and ninety nine dollars.",
    "p175": "ISO-八千八百五十九-一 与 UTF-八 编码",
    "p176": "A-one-B-two-C-three",
}


@pytest.fixture(scope="module")
def default() -> Normalizer:
    return Normalizer()


def test_default_differs_from_the_reference_only_where_it_mends(
    default: Normalizer, cases: list[Case]
) -> None:
    differing = {
        case["id"]: spoken
        for case in cases
        if (spoken := default.normalize(case["text"])) != case["vllm"]["normalized"]
    }
    chain = differing.pop("p200")
    assert "减" not in chain
    assert chain.startswith("上海-北京-广州-深圳-杭州")
    assert differing == MENDED


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("The habit's cost. That's all.", "The habit's cost. That is all."),
        ("I’m here, it’s now", "I am here, it is now"),
        ("see www.mysite.org now", "see www dot mysite dot org now"),
        ("第2天和第12名", "第二天和第十二名"),
        ("共1,345人", "共一千三百四十五人"),
        ("lüe4 lue4 yüan2 nü3", "LVE4 LVE4 YUAN2 NV3"),
        ("<n_a>和<pinyin_a>：张三-李四 ni3", "<n_a>和<pinyin_a>,张三-李四 ni3"),
        ("\ue000张三-李四\ue001", "\ue000张三-李四\ue001"),
    ],
)
def test_named_defects_are_mended(default: Normalizer, text: str, spoken: str) -> None:
    assert default.normalize(text) == spoken


def test_the_reference_rewrites_what_looks_like_its_placeholders() -> None:
    assert Normalizer("vllm").normalize("<n_a>张三-李四") == "张三-李四张三-李四"


def test_many_names_and_syllables_come_back(default: Normalizer) -> None:
    names = [f"{chr(0x4E10 + at)}·{chr(0x4F10 + at)}" for at in range(40)]
    text = "，".join(f"{name}，ni3" for name in names)
    expected = ",".join(f"{name.replace('·', '-')},ni3" for name in names)
    assert default.normalize(text) == expected


@pytest.mark.parametrize("rules", ["default", "vllm", "upstream25", "v1_5_0"])
def test_a_glossary_replaces_the_longest_term_whatever_its_case(rules: RuleSet) -> None:
    glossary = {"tts": "speech", "index tts": "the engine", "": "never", "c++": "see plus plus"}
    spoken = Normalizer(rules).normalize("Index TTS beats TTS in C++.", glossary=glossary)
    assert spoken == "the engine beats speech in see plus plus."


def test_a_term_is_no_part_of_a_word() -> None:
    glossary = {"ai": "a i", "重庆": "崇庆"}
    spoken = Normalizer().normalize("Rain, AI.", glossary=glossary)
    assert spoken == "Rain, a i."
    assert "崇庆" in Normalizer().normalize("在重庆市", glossary=glossary)


def test_a_hint_settles_texts_that_show_no_language(default: Normalizer) -> None:
    assert default.normalize("12") == default.normalize("12", language="zh") == "十二"
    assert default.normalize("12", language="en") == "twelve"
    assert default.normalize("12个", language="en") == "十二个"


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("hello", False),
        ("hello 好", True),
        ("12:30", True),
        ("", True),
        ("abc@def.com", True),
        ("write to abc@def.com", False),
        ("say ni3 hao3", True),
        ("beta1 voice2", False),
    ],
)
def test_the_language_of_a_text(text: str, chinese: bool) -> None:
    assert use_chinese(text) is chinese


@pytest.mark.parametrize("rules", ["default", "vllm"])
def test_lone_surrogates_are_refused(rules: RuleSet) -> None:
    with pytest.raises(InvalidText) as caught:
        Normalizer(rules).normalize("a\udc00")
    assert caught.value.param == "text"


def test_text_without_a_reading(default: Normalizer) -> None:
    assert default.normalize("\0") == ""
    assert default.normalize("a\0b \x07") == "ab \x07"


def test_long_text_is_read_sentence_by_sentence_to_the_same_words(default: Normalizer) -> None:
    english = "It rose by 25% in 2012. He met Dr. Smith at 8:30 AM. Then they left."
    chinese = "今天是2023-12-31。涨了25%！真的吗？"
    whole = Normalizer("vllm")
    for text in (english, chinese):
        assert default.normalize(text) == whole.normalize(text)
    long = Normalizer("vllm").normalize("他有3个。" * 1000)
    assert long == "他有三个." * 1000
    assert default.normalize("word " * 1000) == " ".join(["word"] * 1000)


@pytest.mark.parametrize("character", list("aA1-.,好。，<@’'\"\n \0{\\嗯·😀"))
def test_repeated_characters_take_no_time(default: Normalizer, character: str) -> None:
    default.normalize("a 好")
    start = time.perf_counter()
    default.normalize(character * 20_000)
    assert time.perf_counter() - start < 2.0


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30) | st.text("aA1-. ,好·'’<n_>3/@\ue000", max_size=30))
def test_any_text_is_read_or_refused_and_the_same_each_time(text: str) -> None:
    for rules in ("default", "vllm", "upstream25", "v1_5_0"):
        normalizer = Normalizer(rules)
        try:
            spoken = normalizer.normalize(text)
        except InvalidText:
            assert any(0xD800 <= ord(character) < 0xE000 for character in text)
        else:
            assert normalizer.normalize(text) == spoken


def test_a_part_number_is_no_pinyin() -> None:
    text = "We trained it on an NVIDIA A100."
    assert Normalizer().normalize(text) == "We trained it on an NVIDIA A one hundred."
    assert Normalizer("vllm").normalize(text) == "We trained it on an NVIDIA A1零零."
