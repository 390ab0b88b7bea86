"""The full shape: the control plane plus one node that runs pods, DNS, an S3 server, Prometheus.

Coming up in order: what the machine lacks, programs and images (cached), network and cgroup,
control plane, containerd with its images, kubelet and kube-proxy, add-ons. Going down it ends
processes, then containers, then undoes mounts, interfaces and rules; each of these steps finds its
work by looking at the machine, so it does not matter how far `up` came or what was killed.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from devcluster import (
    addons,
    components,
    containerd,
    controlplane,
    host,
    leftovers,
    lifecycle,
    network,
    processes,
    stock,
)
from devcluster.binaries import Binaries
from devcluster.cache import lock
from devcluster.commands import DevclusterError, run
from devcluster.components import NODE_ADDRESS, Component, Settings
from devcluster.containerd import Containerd
from devcluster.controlplane import Cluster
from devcluster.images import Build, ImageStore
from devcluster.installing import install, make_bucket
from devcluster.lifecycle import Action, Made
from devcluster.paths import State
from devcluster.pki import NODE_NAME
from devcluster.progress import Progress

NODE_LIMIT = 60.0
ADDON_LIMIT = 30.0
KNOWN_PODS = f"/api/v1/nodes/{NODE_NAME}/proxy/pods"  # by its kubelet


class Full:
    """The full cluster of a checkout."""

    def __init__(self, state: State, cache: Path, progress: Progress) -> None:
        self._state = state
        self._cache = cache
        self._store = cache / "containerd"
        self._progress = progress
        self._binaries = Binaries(cache, progress)
        self._images = ImageStore(cache, progress)

    def up(self, meanwhile: Sequence[Build] = ()) -> Cluster:
        """Makes, repairs or confirms the cluster.

        Args:
            meanwhile: Images to build beside the compiling, where there is compiling to do.

        Raises:
            DevclusterError: It could not be brought up; the message says why.
        """
        with lock(self._cache / "locks" / "full", self._progress):
            cni = host.prepare(self._state, self._progress)
            tags = self.build(meanwhile)
            programs = self._binaries.kubernetes()
            made = Made.read(self._state)
            plan = lifecycle.decide_up(
                [component.name for component in self.expected(made)],
                lifecycle.find_working(self.expected(made), self._state),
                str(made.programs) if made and made.complete else None,
                str(programs),
            )
            if plan.action is Action.FRESH or made is None:
                self._clean()
                ports = controlplane.draw_ports()
                made = Made(programs, NODE_ADDRESS, ports, audit=False, complete=False)
                settings = self._prepare(made, cni, tags["pause"])
                self._start(settings, None)
            elif plan.action is Action.REPAIR:
                settings = controlplane.settings_of(self._state, made)
                with self._progress.step(f"repairing the cluster ({plan.reason})", 10):
                    network.bring_up(self._state)
                    self._start(settings, plan.restart)
            else:
                settings = controlplane.settings_of(self._state, made)
            self._install_addons(tags)
            replace(made, complete=True).write(self._state)
            return Cluster(self._state.kubeconfig, settings.server, self._state)

    def down(self, *, purge_images: bool) -> None:
        """Ends everything of the cluster; fine if there is nothing.

        Args:
            purge_images: Whether containerd's images go too; they are loaded again by `up`.
        """
        ending = self._progress.step("ending the cluster", 5)
        with lock(self._cache / "locks" / "full", self._progress), ending:
            self._clean()
            with lock(self._cache / "locks" / "images", self._progress):
                # buildah leaves its store mounted on itself when it ends.
                leftovers.unmount([self._cache / "images"])
            if purge_images and self._store.exists():
                shutil.rmtree(self._store)

    def build(self, meanwhile: Sequence[Build] = ()) -> dict[str, str]:
        """Compiles and builds what is not cached yet; returns the add-ons' images by name.

        Compilers want processors while images want the network and the disk, so they go side by
        side.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="images") as beside:
            wanted = () if self._binaries.has_kubernetes() else meanwhile
            made = beside.submit(self._make_images, wanted)
            self._binaries.clients()
            self._binaries.kubernetes()
            programs = {
                "pause": self._binaries.pause(),
                "coredns": self._binaries.coredns(),
                "s3": self._binaries.versitygw(),
            }
            tags = {"prometheus": made.result()}
        for name, program in programs.items():
            tags[name] = stock.ensure_program(self._images, self._cache, name, program)
        return tags

    def _make_images(self, wanted: Sequence[Build]) -> str:
        stock.ensure_base(self._images, self._cache)
        prometheus = stock.ensure_prometheus(self._images)
        for build in wanted:
            with self._progress.step(f"building {build.tag}"):
                self._images.build(build)
        return prometheus

    def prepare(self) -> None:
        """Installs, compiles and builds all that `up` needs, without starting anything.

        Raises:
            DevclusterError: Something is missing that it may not install.
        """
        host.prepare(self._state, self._progress)
        self.build()

    def load_images(self, builds: Sequence[Build]) -> list[int]:
        """Builds images and hands each to the running cluster while the next is built.

        Returns:
            The bytes that travelled of each.

        Raises:
            DevclusterError: A step of a build failed, or the cluster does not run.
        """
        if not self._state.containerd_socket.exists():
            raise DevclusterError("the cluster does not run; `python -m devcluster up` starts it")
        stock.ensure_base(self._images, self._cache)
        with ThreadPoolExecutor(len(builds), thread_name_prefix="loading") as beside:
            loads = []
            for build in builds:
                with self._progress.step(f"building {build.tag}"):
                    self._images.build(build)
                loads.append(beside.submit(self._hand_over, build.tag))
            travelled = [load.result() for load in loads]
        self.containerd().forget_replaced()
        return travelled

    def _hand_over(self, tag: str) -> int:
        with self._progress.step(f"loading {tag}"):
            return self.containerd().load(self._images, tag)

    def containerd(self) -> Containerd:
        """The cluster's containerd."""
        return Containerd(self._state, self._store)

    def components(self, settings: Settings) -> tuple[Component, ...]:
        """Everything that must run, in starting order."""
        return (
            containerd.component(self._state),
            *components.control_plane(settings),
            components.kubelet(settings),
            components.kube_proxy(settings),
        )

    def expected(self, made: Made | None) -> tuple[Component, ...]:
        """What must run of a cluster made so; nothing if there is none."""
        if made is None:
            return ()
        return self.components(controlplane.settings_of(self._state, made))

    def _prepare(self, made: Made, cni: Path, pause_image: str) -> Settings:
        settings = controlplane.prepare(self._state, made)
        config = containerd.render_config(self._state, self._store, pause_image, cni)
        self._state.containerd.mkdir(parents=True)
        (self._state.containerd / "config.toml").write_text(config)
        resolv_conf = str(network.find_resolv_conf())
        kubelet = components.render_kubelet_config(self._state, made.ports, resolv_conf)
        (self._state.kubelet / "root").mkdir(parents=True)
        (self._state.kubelet / "config.json").write_text(json.dumps(kubelet, indent=2))
        self._state.s3.mkdir()
        network.bring_up(self._state)
        leftovers.make_cgroups()
        return settings

    def _start(self, settings: Settings, names: tuple[str, ...] | None) -> None:
        wanted = {c.name: c for c in self.components(settings) if names is None or c.name in names}
        if "containerd" in wanted:
            self._start_containerd(wanted["containerd"], fresh=names is None)
        if any(c.name in wanted for c in components.control_plane(settings)):
            with self._progress.step("starting the control plane", 8):
                controlplane.start_control_plane(settings, tuple(wanted))
        node = [wanted[name] for name in ("kubelet", "kube-proxy") if name in wanted]
        with self._progress.step("starting the node", 5):
            lifecycle.restart_components(node, self._state)
            self._await(self._node_is_ready, NODE_LIMIT, "the node did not become ready")

    def _start_containerd(self, component: Component, *, fresh: bool) -> None:
        lifecycle.restart_components([component], self._state)
        if fresh and self.containerd().remove_containers():
            # It read the removed containers at its start and would go on asking for them.
            lifecycle.restart_components([component], self._state)

    def _install_addons(self, tags: dict[str, str]) -> None:
        loaded = {name for name, _ in self.containerd().images()}
        missing = [tag for tag in tags.values() if tag not in loaded]
        if missing:
            with self._progress.step("loading the add-ons' images", 15):
                for tag in missing:
                    self.containerd().load(self._images, tag)
                self.containerd().forget_replaced()
        upstream = network.nameservers(network.find_resolv_conf().read_text())
        volume = {"hostPath": {"path": str(self._state.s3), "type": "Directory"}}
        manifests = [
            *addons.render_dns(tags["coredns"], upstream),
            addons.render_namespace(),
            *addons.render_s3(tags["s3"], volume),
            *addons.render_prometheus(tags["prometheus"]),
        ]
        with self._progress.step("starting DNS, S3 server and Prometheus", 10):
            install(self._binaries.clients() / "kubectl", self._state.kubeconfig, manifests)
            self._await(make_bucket, ADDON_LIMIT, f"the S3 server at {addons.S3_URL} is mute")

    def _node_is_ready(self) -> bool:
        """Whether pods run and can be asked.

        After a restart of the kubelet the node goes on being called ready, by what it said before,
        while the kubelet does not know its pods yet.
        """
        node = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        bound = ["--field-selector", f"spec.nodeName={NODE_NAME}", "--all-namespaces"]
        uids = "jsonpath={.items[*].metadata.uid}"
        try:
            if self._kubectl("get", "node", NODE_NAME, "--output", node) != "True":
                return False
            known = json.loads(self._kubectl("get", "--raw", KNOWN_PODS))
            pods = set(self._kubectl("get", "pods", *bound, "--output", uids).split())
        except DevclusterError:
            return False  # not registered yet, or its kubelet does not answer
        return pods <= {pod["metadata"]["uid"] for pod in known["items"] or ()}

    def _kubectl(self, *words: str) -> str:
        kubectl = self._binaries.clients() / "kubectl"
        return run([kubectl, "--kubeconfig", self._state.kubeconfig, *words], seconds=20)

    def _await(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        if not processes.wait_until(condition, seconds, every=0.2):
            where = self._state.log("kubelet").parent
            raise DevclusterError(f"{complaint} within {seconds:.0f} s; the logs are in {where}")

    def _clean(self) -> None:
        lifecycle.end_all(self._state)
        leftovers.end_containers()
        leftovers.unmount([self._state.root])
        foreign = processes.find_foreign(("kubelet", "kube-proxy"), self._state.root)
        leftovers.remove_outside_files(self._state, is_another_kubelets=bool(foreign))
        network.remove(keep_kubernetes_chains=bool(foreign))
        lifecycle.remove_state(self._state)
