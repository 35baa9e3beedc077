"""Config files parsed once a process: the front door composes thousands of times here, mostly from the same texts.

A text is read by the loader that OmegaConf has itself; what it gives is only kept, and configs are made of it anew each
time. Processes that tests start do without.
"""

import functools

import omegaconf.omegaconf as reading
import yaml
from omegaconf._utils import get_yaml_loader


class ParsedOnce:
    """The module ``yaml`` for OmegaConf, with a ``load`` that remembers."""

    def __init__(self, loader):
        self._loader = loader
        self._parsed = functools.lru_cache(maxsize=2048)(lambda text: yaml.load(text, Loader=loader))

    def __getattr__(self, name):
        return getattr(yaml, name)

    def load(self, stream, Loader):
        text = stream if isinstance(stream, str) else stream.read()
        try:
            return self._parsed(text)
        except yaml.YAMLError:
            if isinstance(stream, str):
                raise
            stream.seek(0)  # a file's mistakes are told with its name
            return yaml.load(stream, Loader=self._loader)


def parse_once():
    """Let OmegaConf parse each text once."""
    reading.yaml = ParsedOnce(get_yaml_loader())
