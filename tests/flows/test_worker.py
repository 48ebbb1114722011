import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, "error: PREFECT_API_URL is not set"),
        ("http://127.0.0.1:9/api", "error: no Prefect server answers at http://127.0.0.1:9/api"),
    ],
)
def test_a_worker_without_a_server_is_refused(project, monkeypatch, url, sentence):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    if url:
        monkeypatch.setenv("PREFECT_API_URL", url)
    ended = subprocess.run([sys.executable, "-m", "flows.worker"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith(sentence)
    assert "Traceback" not in ended.stderr
