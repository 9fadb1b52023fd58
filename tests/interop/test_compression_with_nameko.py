"""Compressed requests of our clients to nameko's services; the bytes are kombu's."""

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("nameko_shops")


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
def test_nameko_understands_compressed_requests(our_client: Any, compression: str) -> None:
    text = "nameko" * 10_000
    assert our_client["nameko_shop"].echo.with_options(compression=compression)(text)["args"] == [text]
