"""The product's own settings, with the addresses that the measurements compare it with."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "bench.urls"
