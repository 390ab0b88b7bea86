"""What each component is started with: pure functions from settings to command lines.

Every component listens on a port drawn free when the cluster was made, so several clusters can
run at once and none collides with what the machine runs already. Only the full shape has pods,
and only it listens on an address of its own that pods can reach (`NODE_ADDRESS`).
"""

from dataclasses import dataclass
from pathlib import Path

from devcluster.paths import State
from devcluster.pki import NODE_NAME

LOOPBACK = "127.0.0.1"
POD_RANGE = "10.244.0.0/16"
NODE_ADDRESS = "10.244.0.1"
SERVICE_RANGE = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
CGROUP = "/millstream-devcluster"
PORT_NAMES = (
    "etcd",
    "etcd-peer",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubelet-health",
    "kube-proxy-health",
    "kube-proxy-metrics",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command lines depend on."""

    state: State
    programs: Path
    """Folder of the compiled components."""
    address: str
    """Where the API server listens: loopback, or `NODE_ADDRESS` in the full shape."""
    ports: dict[str, int]
    """A free port for each of `PORT_NAMES`."""
    audit: bool = False
    """Whether the API server logs every request to `logs/audit.log`."""

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.ports['kube-apiserver']}"


@dataclass(frozen=True)
class Component:
    """One process of the cluster and the URL that answers 200 when it works."""

    name: str
    argv: tuple[str, ...]
    health: str


def etcd(settings: Settings) -> Component:
    """The API server's store. Without fsync: a development cluster need not survive power loss."""
    client = f"http://{LOOPBACK}:{settings.ports['etcd']}"
    peer = f"http://{LOOPBACK}:{settings.ports['etcd-peer']}"
    flags = {
        "data-dir": settings.state.etcd,
        "unsafe-no-fsync": "true",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "log-level": "warn",
    }
    return _component(settings, "etcd", flags, f"{client}/health")


def kube_apiserver(settings: Settings) -> Component:
    """The API server; the full shape also announces it to pods as the `kubernetes` Service."""
    pki = settings.state.pki
    port = settings.ports["kube-apiserver"]
    flags: dict[str, object] = {
        "etcd-servers": f"http://{LOOPBACK}:{settings.ports['etcd']}",
        "bind-address": settings.address,
        "secure-port": port,
        # Never dialled in the control-plane shape, but the server insists on a routable one.
        "advertise-address": NODE_ADDRESS,
        "endpoint-reconciler-type": "none" if settings.address == LOOPBACK else "lease",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "server.crt",
        "tls-private-key-file": pki / "server.key",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": pki / "service-account.pub",
        "service-account-signing-key-file": pki / "service-account.key",
        "service-cluster-ip-range": SERVICE_RANGE,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "kubelet-client-certificate": pki / "admin.crt",
        "kubelet-client-key": pki / "admin.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "profiling": "false",
    }
    if settings.audit:
        flags["audit-policy-file"] = settings.state.root / "audit-policy.json"
        flags["audit-log-path"] = settings.state.log("audit")
        flags["audit-log-maxsize"] = 200  # megabytes
        flags["audit-log-maxbackup"] = 1
    health = f"https://{settings.address}:{port}/readyz"
    return _component(settings, "kube-apiserver", flags, health)


def kube_controller_manager(settings: Settings) -> Component:
    """Deployments, StatefulSets, garbage collection, service accounts and the like."""
    pki = settings.state.pki
    flags = {
        **_secured(settings, "kube-controller-manager"),
        "service-account-private-key-file": pki / "service-account.key",
        "root-ca-file": pki / "ca.crt",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
    }
    return _component(
        settings,
        "kube-controller-manager",
        flags,
        _secured_health(settings, "kube-controller-manager"),
    )


def kube_scheduler(settings: Settings) -> Component:
    """Places pods on the node."""
    flags = {**_secured(settings, "kube-scheduler"), "leader-elect": "false"}
    return _component(
        settings, "kube-scheduler", flags, _secured_health(settings, "kube-scheduler")
    )


def kubelet(settings: Settings) -> Component:
    """Runs the pods of the one node."""
    flags = {
        "kubeconfig": settings.state.pki / "kubelet.kubeconfig",
        "config": settings.state.kubelet / "config.json",
        "root-dir": settings.state.kubelet / "root",
        "hostname-override": NODE_NAME,
        "node-ip": NODE_ADDRESS,
    }
    health = f"http://{LOOPBACK}:{settings.ports['kubelet-health']}/healthz"
    return _component(settings, "kubelet", flags, health)


def kube_proxy(settings: Settings) -> Component:
    """Makes Services reachable, from pods and from the machine itself."""
    health = f"{LOOPBACK}:{settings.ports['kube-proxy-health']}"
    flags = {
        "kubeconfig": settings.state.pki / "kube-proxy.kubeconfig",
        "hostname-override": NODE_NAME,
        "proxy-mode": "iptables",
        "cluster-cidr": POD_RANGE,
        "healthz-bind-address": health,
        "metrics-bind-address": f"{LOOPBACK}:{settings.ports['kube-proxy-metrics']}",
        "nodeport-addresses": f"{NODE_ADDRESS}/32",
        # The machine's own connection tracking limits stay as they are.
        "conntrack-max-per-core": 0,
        "conntrack-tcp-timeout-established": "0s",
        "conntrack-tcp-timeout-close-wait": "0s",
        "iptables-localhost-nodeports": "false",
    }
    return _component(settings, "kube-proxy", flags, f"http://{health}/livez")


def control_plane(settings: Settings) -> tuple[Component, ...]:
    """The components of the control-plane shape in the order they start."""
    return (
        etcd(settings),
        kube_apiserver(settings),
        kube_controller_manager(settings),
        kube_scheduler(settings),
    )


def render_audit_policy() -> dict[str, object]:
    """Every request with its metadata; health checks and Events would drown the rest."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*", "/version"]},
            {"level": "None", "resources": [{"group": "", "resources": ["events"]}]},
            {"level": "Metadata"},
        ],
    }


def render_kubelet_config(
    state: State, ports: dict[str, int], resolv_conf: str
) -> dict[str, object]:
    """The kubelet's configuration file; nothing of it lies outside the cluster's folder."""
    pki = state.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": ports["kubelet"],
        "healthzBindAddress": LOOPBACK,
        "healthzPort": ports["kubelet-health"],
        "readOnlyPort": 0,
        "tlsCertFile": str(pki / "server.crt"),
        "tlsPrivateKeyFile": str(pki / "server.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{state.containerd_socket}",
        "cgroupRoot": CGROUP,
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": resolv_conf,
        "podLogsDir": str(state.pod_logs),
        "volumePluginDir": str(state.kubelet / "plugins"),
        "containerLogMaxSize": "20Mi",
        "containerLogMaxFiles": 2,
        # Images come from the launcher, not from a registry: what is collected is gone.
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        "evictionHard": {"memory.available": "100Mi"},
        # A rebuilt image is picked up at once and a crashing pod is seen to recover within a test.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "10s"},
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
    }


def _secured(settings: Settings, name: str) -> dict[str, object]:
    kubeconfig = settings.state.pki / f"{name}.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": LOOPBACK,
        "secure-port": settings.ports[name],
        "tls-cert-file": settings.state.pki / "server.crt",
        "tls-private-key-file": settings.state.pki / "server.key",
        "profiling": "false",
    }


def _secured_health(settings: Settings, name: str) -> str:
    return f"https://{LOOPBACK}:{settings.ports[name]}/healthz"


def _component(
    settings: Settings, name: str, flags: dict[str, object] | dict[str, str], health: str
) -> Component:
    rendered = (f"--{flag}={value}" for flag, value in flags.items())
    return Component(name, (str(settings.programs / name), *rendered), health)
