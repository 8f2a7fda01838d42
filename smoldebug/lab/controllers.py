"""The control plane: every controller, run one after the other whenever something changed."""

from smoldebug.lab.autoscaler import Autoscaler
from smoldebug.lab.budgets import BudgetController
from smoldebug.lab.claims import ClaimController
from smoldebug.lab.daemonsets import DaemonSetController
from smoldebug.lab.definitions import DefinitionController
from smoldebug.lab.deployments import DeploymentController
from smoldebug.lab.endpoints import EndpointsController
from smoldebug.lab.jobs import JobController
from smoldebug.lab.nodes import NodeController
from smoldebug.lab.objects import Loop
from smoldebug.lab.quotas import Quotas
from smoldebug.lab.replicasets import ReplicaSetController
from smoldebug.lab.scheduler import Scheduler
from smoldebug.lab.statefulsets import StatefulSetController
from smoldebug.lab.store import Store


class Controllers:
    def __init__(self, store: Store) -> None:
        self._steps = [
            Autoscaler(store).step,
            DeploymentController(store).step,
            ReplicaSetController(store).step,
            StatefulSetController(store).step,
            DaemonSetController(store).step,
            JobController(store).step,
            ClaimController(store).step,
            DefinitionController(store).step,
            NodeController(store).step,
            Scheduler(store).step,
            EndpointsController(store).step,
            BudgetController(store).step,
            Quotas(store).step,
        ]
        loop = Loop(store, self.step, "controllers")
        self.start, self.stop = loop.start, loop.stop

    def step(self) -> float:
        """Let each controller act once; returns the seconds until it has to again."""
        return min(step() for step in self._steps)
