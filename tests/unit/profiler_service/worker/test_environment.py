"""Which variables of the environment a worker does without."""

from __future__ import annotations

import pytest

from profiler_service.worker.environment import is_secret, remove_secrets


@pytest.mark.parametrize(
    "name",
    [
        *("OPCLOCK_TOKEN", "OPCLOCK_DATABASE", "PGPASSWORD", "PGPASSFILE", "PGHOST", "DATABASE_URL", "DB_CONNECTION_URI"),
        *("HF_TOKEN", "WANDB_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "MY_SECRET", "db_password", "SMTP_PASS"),
        *("MYSQL_PWD", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_AUTH_SOCK", "SENTRY_DSN"),
    ],
)
def test_credentials_go_by_their_names(name: str) -> None:
    assert is_secret(name, "x")


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "PWD", "OLDPWD", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "VIRTUAL_ENV"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_MODULE_LOADING", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "KMP_AFFINITY"),
        *("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TOKENIZERS_PARALLELISM", "PGO_PROFILE", "HTTP_PROXY"),
        *("OPCLOCK_TF32", "OPCLOCK_CACHE_DIR", "OPCLOCK_LOCK_DIR", "OPCLOCK_THREADS"),
    ],
)
def test_what_runtimes_read_stays(name: str) -> None:
    assert not is_secret(name, "http://proxy.example:3128")


@pytest.mark.parametrize("user", ["ann:pa55", ":pa55", "pypi-AgEIcHlwaS5v", "x-access-token:"])
def test_a_url_with_credentials_goes_whatever_its_name_is(user: str) -> None:
    environment = {"PATH": "/bin", "TRACKING": f"https://{user}@box.example/x", "HTTP_PROXY": "http://proxy:3128/a@b"}
    remove_secrets(environment)
    assert environment == {"PATH": "/bin", "HTTP_PROXY": "http://proxy:3128/a@b"}
