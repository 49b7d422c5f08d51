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


def test_what_a_notice_quotes_is_left_out_and_apostrophes_stay() -> None:
    text = "'/scans/O'Brien.nii' holds the scanner's values; 'CT 1' isn't read, nor 'b'"
    notice = Notice("content", "warning", text, "'b'").without_names()
    assert notice.text == "'…' holds the scanner's values; '…' isn't read, nor '…'"
    assert notice.fact == "'…'"
    assert (notice.code, notice.severity) == ("content", "warning")
