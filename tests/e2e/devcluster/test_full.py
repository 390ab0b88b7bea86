"""The full shape, as a person uses it: by its command line, on this machine."""

# ruff: noqa: S603, S310 - it starts our launcher and asks our servers
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from devcluster import addons, processes
from devcluster.binaries import KUBERNETES_VERSION
from devcluster.paths import CHECKOUT, cache_root, state_of
from devcluster.processes import wait_until
from devcluster.providers import docker_and_kind_work
from devcluster.sharing import why_no_cluster
from tests.builders.machine import traces

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
STATE = state_of("full")
IMAGE = "localhost/devcluster-test/web:dev"
NAMESPACE = "restricted"
REPLICAS = 2
GIGABYTE = 1e9

CONTAINERFILE = """
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}
RUN pip install uv
COPY requirements.txt /tmp/requirements.txt
RUN uv pip install --system --require-hashes --requirements /tmp/requirements.txt
RUN python -c 'import xxhash' && head -c 100000000 /dev/urandom > /opt/dependencies
COPY page.html /srv/page.html
USER 10001
WORKDIR /srv
CMD ["python3", "-m", "http.server", "8080"]
"""


def launch(*arguments, timeout=800):
    command = [sys.executable, "-m", "devcluster", *arguments]
    return subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=timeout, check=False
    )


def succeed(*arguments):
    done = launch(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def components():
    return {name: process.pid for name, process in processes.find_main(STATE.root).items()}


@pytest.fixture(scope="module", autouse=True)
def untouched():
    """What the machine looks like without the cluster."""
    if reason := why_no_cluster():
        pytest.skip(reason)
    if os.environ.get("MILLSTREAM_CLUSTER", "own") != "own" or docker_and_kind_work():
        pytest.skip("the cluster in use is not the project's own")
    if processes.find(STATE.root):
        pytest.skip("a full cluster is up and may be in use: `make down` first")
    succeed("down")
    before = traces(STATE, cache_root())
    yield before
    launch("down")


@pytest.fixture
def clean(untouched):
    """Nothing of a cluster is there before the test, and nothing may be after it."""
    succeed("down")
    yield
    assert_no_traces(untouched)


def assert_no_traces(untouched):
    # The kernel takes a moment to remove interfaces of a namespace that is gone.
    wait_until(lambda: traces(STATE, cache_root()) == untouched, 10)
    assert traces(STATE, cache_root()) == untouched


@pytest.fixture(scope="module")
def cluster():
    """A running cluster's status."""
    succeed("up")
    return json.loads(succeed("status", "--json").stdout)


@pytest.fixture(scope="module")
def kubectl(cluster):
    folder = succeed("tools").stdout.strip()

    def ask(*words, feed=None, fails=False):
        command = [f"{folder}/kubectl", "--kubeconfig", cluster["kubeconfig"], *words]
        done = subprocess.run(
            command, capture_output=True, text=True, input=feed, timeout=120, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    return ask


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small program with a dependency by hash and a large layer below its code."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "Containerfile").write_text(CONTAINERFILE)
    (folder / "page.html").write_text("first")
    uv = [f"{sys.prefix}/bin/uv", "pip", "compile", "--quiet", "--generate-hashes", "-"]
    locked = subprocess.run(
        uv, input="xxhash", capture_output=True, text=True, timeout=120, check=True
    )
    (folder / "requirements.txt").write_text(locked.stdout)
    return folder


def load(source):
    return succeed(
        "load-image", IMAGE, "--file", f"{source}/Containerfile", "--context", str(source)
    )


@pytest.fixture(scope="module")
def web(kubectl, source):
    """A Deployment and a Service in a namespace that enforces the restricted standard."""
    load(source)
    kubectl("apply", "-f", "-", feed=json.dumps(web_manifests()))
    kubectl("-n", NAMESPACE, "rollout", "status", "deployment/web", "--timeout=60s")


def web_manifests():
    labels = {"app": "web"}
    wishes = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
    container = {
        "name": "web",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    spec = {
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    template = {"metadata": {"labels": labels, "annotations": wishes}, "spec": spec}
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    items = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": enforce},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {
                "replicas": REPLICAS,
                "selector": {"matchLabels": labels},
                "template": template,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def fetch_from_pod(kubectl, url):
    """What a pod gets from a URL; retried, for rules of a new Service take a second to arrive."""
    script = f"""
import time, urllib.request
for attempt in range(50):
    try:
        print(urllib.request.urlopen({url!r}, timeout=5).read().decode())
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit("no answer")
"""
    return kubectl("-n", NAMESPACE, "exec", "deploy/web", "--", "python3", "-c", script).strip()


def page_from_pod(kubectl):
    return fetch_from_pod(kubectl, "http://web/page.html")


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def s3_client(cluster):
    return boto3.client(
        "s3",
        endpoint_url=cluster["s3"],
        region_name=addons.S3_REGION,
        aws_access_key_id=addons.S3_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=addons.S3_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(connect_timeout=2, read_timeout=5, s3={"addressing_style": "path"}),
    )


@pytest.mark.usefixtures("cluster")
class TestRunning:
    """One cluster for all of these."""

    def test_everything_runs_and_answers_with_its_version(self, cluster, kubectl):
        assert cluster["running"]
        assert all(cluster["components"].values())
        version = json.loads(kubectl("version", "--output", "json"))
        assert version["serverVersion"]["gitVersion"] == f"v{KUBERNETES_VERSION}"

    def test_up_again_is_quick_and_restarts_nothing(self):
        before, began = components(), time.monotonic()
        succeed("up")
        assert time.monotonic() - began < 15
        assert components() == before

    def test_it_is_modest(self):
        """Under 1.5 GB with the add-ons, which stay below 150 MB at rest."""
        status = json.loads(succeed("status", "--json").stdout)
        assert status["memory_bytes"] < 1.35 * GIGABYTE

    @pytest.mark.usefixtures("web")
    def test_pods_of_the_restricted_standard_run_and_others_are_refused(self, kubectl):
        assert kubectl("-n", NAMESPACE, "exec", "deploy/web", "--", "id", "-u").strip() == "10001"
        run = ["run", "bad", "--image", IMAGE, "--image-pull-policy=Never"]
        assert "restricted" in kubectl("-n", NAMESPACE, *run, fails=True)

    @pytest.mark.usefixtures("web")
    def test_a_service_answers_by_name_in_pods_and_by_address_on_the_machine(self, kubectl):
        for name in ("web", f"web.{NAMESPACE}.svc", f"web.{NAMESPACE}.svc.cluster.local"):
            assert fetch_from_pod(kubectl, f"http://{name}/page.html") == "first"
        address = kubectl(
            "-n", NAMESPACE, "get", "service", "web", "--output", "jsonpath={.spec.clusterIP}"
        )
        assert fetch(f"http://{address}/page.html") == "first"
        pods = kubectl(
            "-n", NAMESPACE, "get", "pods", "--output", "jsonpath={.items[*].status.podIP}"
        )
        for pod in pods.split():
            assert fetch(f"http://{pod}:8080/page.html") == "first"
            assert fetch_from_pod(kubectl, f"http://{pod}:8080/page.html") == "first"

    @pytest.mark.usefixtures("web")
    def test_a_change_of_code_is_loaded_in_seconds_and_little_travels(self, kubectl, source):
        (source / "page.html").write_text("second")
        began = time.monotonic()
        said = load(source).stdout
        assert time.monotonic() - began < 30
        assert " 0.0 MB had to travel" in said
        kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/web")
        kubectl("-n", NAMESPACE, "rollout", "status", "deployment/web", "--timeout=60s")
        assert wait_until(lambda: page_from_pod(kubectl) == "second", 30)

    def test_the_s3_server_honours_conditions_and_keeps_objects_over_a_restart(
        self, cluster, kubectl
    ):
        client = s3_client(cluster)
        client.put_object(Bucket="models", Key="a/b", Body=b"first", IfNoneMatch="*")
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket="models", Key="a/b", Body=b"second", IfNoneMatch="*")
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412

        started = "jsonpath={.items[0].status.containerStatuses[0].restartCount}"
        pods = ["-n", addons.NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=s3"]
        server = next(iter(find_programs(b"posix")))
        os.kill(server, signal.SIGKILL)
        assert wait_until(lambda: kubectl(*pods, "--output", started) == "1", 60)
        kubectl("-n", addons.NAMESPACE, "rollout", "status", "deployment/s3", "--timeout=60s")
        assert wait_until(lambda: object_is(client, b"first"), 30)

    @pytest.mark.usefixtures("web")
    def test_prometheus_scrapes_the_pods_that_ask(self, cluster):
        query = urllib.parse.quote(f'up{{namespace="{NAMESPACE}", app="web"}}')

        def scraped():
            found = json.loads(fetch(f"{cluster['prometheus']}/api/v1/query?query={query}"))
            return len(found["data"]["result"]) >= 2

        assert wait_until(scraped, 60, every=1)

    @pytest.mark.parametrize(
        "killed",
        [("kubelet",), ("containerd", "kube-proxy"), ("etcd", "kube-apiserver")],
        ids=" and ".join,
    )
    @pytest.mark.usefixtures("web")
    def test_up_repairs_what_was_killed_and_pods_go_on(self, kubectl, killed):
        before = components()
        web = ["-n", NAMESPACE, "get", "pods", "--selector", "app=web"]
        uids = [*web, "--output", "jsonpath={.items[*].metadata.uid}"]
        # The rolling restart of an earlier test leaves pods that take their time to end.
        assert wait_until(lambda: len(kubectl(*uids).split()) == REPLICAS, 60)
        pods = kubectl(*uids)
        for name in killed:
            os.kill(before[name], signal.SIGKILL)
        assert wait_until(lambda: not components().keys() & set(killed), 10)
        succeed("up")
        after = components()
        assert {name for name in before if after[name] != before[name]} == set(killed)
        assert kubectl(*uids) == pods
        assert fetch_from_pod(kubectl, "http://web/page.html")

    def test_logs_prints_a_components_log(self):
        assert "kubelet" in succeed("logs", "kubelet").stdout

    @pytest.mark.usefixtures("web")
    def test_down_leaves_no_trace_and_down_again_is_fine(self, untouched):
        succeed("down")
        assert_no_traces(untouched)
        succeed("down")
        assert launch("status").returncode == 1


def object_is(client, content):
    try:
        return client.get_object(Bucket="models", Key="a/b")["Body"].read() == content
    except Exception:  # noqa: BLE001 - any failure is a "not yet"
        return False


def find_programs(word):
    """Process ids of containers whose command line holds a word."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        if words[0] == b"/program" and word in words:
            yield int(file.parent.name)


@pytest.mark.usefixtures("clean")
class TestCrashes:
    """Each starts from nothing and must end with nothing."""

    @pytest.mark.parametrize("reached", ["etcd", "containerd", "kubelet"])
    def test_down_cleans_up_after_a_launcher_that_was_killed_half_way(self, reached):
        command = [sys.executable, "-m", "devcluster", "up"]
        with subprocess.Popen(command, cwd=CHECKOUT, stdout=-3, stderr=-3) as launcher:
            assert wait_until(lambda: reached in components(), 120)
            launcher.kill()
        succeed("down")

    def test_after_everything_was_killed_up_starts_afresh_and_down_cleans_up(self):
        succeed("up")
        kill_all()
        succeed("up")
        assert json.loads(succeed("status", "--json").stdout)["running"]
        kill_all()
        # As if it had been another checkout's: nobody undoes its mounts, which hold its network.
        other = STATE.root.with_name("of-another-checkout")
        STATE.root.rename(other)
        try:
            succeed("up")
            kill_all()
            succeed("down")
        finally:
            other.rename(STATE.root)
        succeed("down")


def kill_all():
    """Every component at once, the shims between containerd and its containers too."""
    for process in processes.find(STATE.root):
        os.kill(process.pid, signal.SIGKILL)
    assert wait_until(lambda: not processes.find(STATE.root), 10)
