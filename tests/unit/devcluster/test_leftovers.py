"""Which mounts belong to the cluster."""

from devcluster.leftovers import mounts_below

TABLE = r"""22 1 8:1 / / rw - ext4 /dev/a rw
30 22 0:5 / /build/full/containerd/task/rootfs rw - overlay overlay rw
31 30 0:6 / /build/full/containerd/task/rootfs/proc rw - proc proc rw
32 22 0:7 / /build/full-2/secret rw - tmpfs tmpfs rw
33 22 0:8 / /build/full rw - tmpfs tmpfs rw
34 22 0:9 / /home/a\040b/full/volume rw - tmpfs tmpfs rw
"""


def test_mounts_at_and_below_a_folder_are_the_clusters_and_a_similar_name_is_not():
    assert mounts_below(TABLE, ["/build/full"]) == [
        "/build/full/containerd/task/rootfs",
        "/build/full/containerd/task/rootfs/proc",
        "/build/full",
    ]


def test_blanks_in_a_path_are_read():
    assert mounts_below(TABLE, ["/home/a b/full"]) == ["/home/a b/full/volume"]
