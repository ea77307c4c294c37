"""Calico's selector language. Documents are checked with it too, so it lives in ``cloudnet.model.selectors``."""

from __future__ import annotations

from cloudnet.model.selectors import LABEL_LENGTH, BadSelector, Matches, Selector, parse

__all__ = ["LABEL_LENGTH", "BadSelector", "Matches", "Selector", "parse"]
