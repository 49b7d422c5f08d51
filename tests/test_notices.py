"""Notices are data: printed as their sentence, and decided on by their code alone."""

from __future__ import annotations

import pickle

from tomochrome.notices import Notice, texts


def test_a_notice_is_printed_as_its_sentence_and_pickles() -> None:
    notice = Notice("worse", "warning", "the registration made it worse: x fell", "x fell")
    assert str(notice) == notice.text == f"{notice}"
    assert pickle.loads(pickle.dumps(notice)) == notice


def test_sentences_come_in_order_and_once() -> None:
    said = [Notice("unit", "info", "b"), Notice("geometry", "warning", "a")]
    assert texts([*said, Notice("content", "info", "b")]) == ["b", "a"]
