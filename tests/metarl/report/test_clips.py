"""Choice of the films in a page."""

from __future__ import annotations

from metarl.report.clips import Film, fitting


def test_every_method_is_seen_once_before_any_is_seen_twice(tmp_path):
    films = []
    for method in ("a", "b"):
        for rank in range(2):
            path = tmp_path / f"{method}{rank}.mp4"
            path.write_bytes(bytes(100))
            films.append(Film(path, method, rank))
    assert fitting(films, 400) == films
    assert [film.path.stem for film in fitting(films, 399)] == ["a0", "a1", "b0"]
    assert [film.path.stem for film in fitting(films, 250)] == ["a0", "b0"]
    assert fitting(films, 99) == []
