"""What things may be called: the rules of Kubernetes and Calico for names, labels and annotations.

Sources: Kubernetes ``apimachinery/pkg/util/validation``, Calico ``libcalico-go/lib/validator/v3/validator.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloudnet.model.problems import Problems

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"

LABEL = re.compile(_LABEL)
SUBDOMAIN = re.compile(_SUBDOMAIN)
NETWORK_POLICY = re.compile(rf"{_LABEL}(?:\.{_LABEL})?|(?:knp|ossg)\.default\.{_SUBDOMAIN}")
GLOBAL_NETWORK_POLICY = re.compile(rf"(?:{_LABEL}\.)?{_LABEL}")
INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
NAMED_PORT = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_SERVICE_PORT = re.compile(r"(?=.*[a-z])[a-z0-9](?:-?[a-z0-9])*")  # RFC 6335, section 5.1

LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253
_SERVICE_PORT_LENGTH = 15

_KEY_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_ANNOTATIONS_SIZE = 256 * 1024  # bytes of all keys and values


def is_label(text: str) -> bool:
    """Tell whether a DNS label of RFC 1123 is called so."""
    return len(text) <= LABEL_LENGTH and LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Tell whether a DNS subdomain of RFC 1123 is called so: most resources are."""
    return len(text) <= SUBDOMAIN_LENGTH and SUBDOMAIN.fullmatch(text) is not None


def is_service_port(text: str) -> bool:
    """Tell whether a port of an endpoint may be called so. Kubernetes ``IsValidPortName``."""
    return len(text) <= _SERVICE_PORT_LENGTH and _SERVICE_PORT.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Tell whether a label or annotation may have this key. Kubernetes ``IsQualifiedName``."""
    prefix, slash, name = text.rpartition("/")
    if slash and not is_subdomain(prefix):
        return False
    return len(name) <= LABEL_LENGTH and _KEY_NAME.fullmatch(name) is not None


def is_value(text: str) -> bool:
    """Tell whether a label may have this value. Kubernetes ``IsValidLabelValue``."""
    return not text or (len(text) <= LABEL_LENGTH and _KEY_NAME.fullmatch(text) is not None)


def check_labels(labels: Mapping[str, str], path: str, problems: Problems) -> None:
    for key, value in labels.items():
        if not is_key(key):
            problems.add(path, _bad_key(key))
        if not is_value(value):
            problems.add(
                f"{path}[{key!r}]",
                f"expected {LABEL_LENGTH} letters, digits, '-', '_' and '.' at most, found {value!r}",
            )


def check_annotations(annotations: Mapping[str, str], path: str, problems: Problems) -> None:
    for key in annotations:
        if not is_key(key.lower()):
            problems.add(path, _bad_key(key))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _ANNOTATIONS_SIZE:
        problems.add(path, f"expected {_ANNOTATIONS_SIZE} bytes at most, found {size}")


def _bad_key(key: str) -> str:
    shown = key if len(key) <= LABEL_LENGTH else f"{key[:LABEL_LENGTH]}..."
    return f"expected keys such as 'app' or 'example.com/app', found {shown!r}"
