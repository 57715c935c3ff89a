"""Clusters for tests, made alike."""

from contextlib import contextmanager

import pytest


@contextmanager
def dask_executor():
    """The executor of a cluster of two threads in this process."""
    module = pytest.importorskip("distributed")
    cluster = module.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster, module.Client(cluster) as client, client.get_executor() as executor:
        yield executor
