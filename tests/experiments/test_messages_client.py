"""Tests of the client of the Messages API: proxies and certificates as the environment names them."""

import os

import pytest
from helpers.programs import run_experiments, run_python
from helpers.servers.messages import KEY
from helpers.tiny_profile import ROOT

from common.errors import DataError, NeedsPerson
from common.network import check_network_environment, without_password
from experiments import messages_client
from experiments.doctor import messages_api

PROXIES = [f"{scheme}_proxy" for scheme in ("all", "http", "https", "no")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    """Remove the proxies of the person who runs the tests."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"all_proxy": "socks5h://user:secret@127.0.0.1:9"},
        {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.1,[::1]"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "127.0.0.0/8, [fe80::1]:80 ,.corp,*.intern"},
        {"NO_PROXY": "*"},
    ],
)
def test_proxies_of_any_spelling_leave_loopback_alone(api, monkeypatch, settings):
    """Doctor uses the same client as the run."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert messages_api.problem(KEY, "") == ""


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_hosts_that_bypass_the_proxy_keep_bypassing_it(monkeypatch, name):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv(name, "api.internal.example, 10.0.0.0/8,[fd00::1]")
    check_network_environment()
    expected = "api.internal.example,10.0.0.0/8,fd00::1,localhost,127.0.0.1,::1"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == expected
    check_network_environment()
    assert os.environ["no_proxy"].startswith(expected)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:secret@proxy:3128", "http://…@proxy:3128"),
        ("user:secret@proxy:31x28", "…@proxy:31x28"),
        ("http://user:se/cret@proxy:3128", "http://…@proxy:3128"),
        ("http://user:p@ss@proxy:1", "http://…@proxy:1"),
        ("socks5h://proxy:1", "socks5h://proxy:1"),
        ("/etc/ssl/ca.pem", "/etc/ssl/ca.pem"),
    ],
)
def test_no_password_is_shown(monkeypatch, address, shown):
    assert without_password(address) == shown
    monkeypatch.setenv("HTTPS_PROXY", address)
    problem = ""
    try:
        check_network_environment()
    except DataError as error:
        problem = str(error)
    assert not any(secret in problem for secret in ("secret", "se/cret", "'se'", "p@ss"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SSL_CERT_FILE": "/nonexistent.pem"}, "SSL_CERT_FILE=/nonexistent.pem: .*No such file"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE=.*test_messages_client.py: "),
        ({"HTTPS_PROXY": "ftp://proxy:21"}, "HTTPS_PROXY=ftp://proxy:21: .*scheme"),
        ({"ALL_PROXY": "socks5://user:secret@host:port"}, "ALL_PROXY=socks5://…@host:port: .*port"),
    ],
)
def test_an_unusable_setting_is_named_once(api, monkeypatch, settings, words):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=words) as caught:
        check_network_environment()
    assert "secret" not in str(caught.value)
    with pytest.raises(NeedsPerson, match="no connection can be made"):
        messages_client.client(KEY)
    assert messages_api.problem(KEY, "") == str(caught.value)


def test_a_proposer_that_cannot_connect_ends_the_run_with_exit_status_2(run, api):
    root = run.workspace.root
    run.close()
    order = ("run", "--run", "night", "--profile", "tiny", "--trials", "1", "--proposer", "anthropic")
    done = run_experiments(root, *order, SSL_CERT_FILE="/no.pem")
    assert done.returncode == 2, done.stdout
    assert done.stdout.decode().count("no connection can be made with SSL_CERT_FILE=/no.pem") == 1


def test_a_download_behind_an_unusable_proxy_fails_with_one_line(tmp_path):
    done = run_python(
        *("-m", "data", "prepare", "--train-shards", "1", "--folder", str(tmp_path / "p")),
        cwd=ROOT,
        ALL_PROXY="ftp://proxy",
    )
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert b"ALL_PROXY=ftp://proxy" in done.stderr
