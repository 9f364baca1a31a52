# The public names and their homes, for type checkers; a test compares them with __init__.py.

from perdure.client.client import TaskClient as TaskClient
from perdure.client.sync import SyncTaskClient as SyncTaskClient
from perdure.declare.context import TaskContext as TaskContext
from perdure.declare.kind import Answer as Answer
from perdure.declare.kind import NewTask as NewTask
from perdure.declare.kind import TaskKind as TaskKind
from perdure.declare.sync_context import SyncTaskContext as SyncTaskContext
from perdure.errors import ConfigurationError as ConfigurationError
from perdure.errors import DatabaseError as DatabaseError
from perdure.errors import DatabaseUnavailable as DatabaseUnavailable
from perdure.errors import EmbeddedServerError as EmbeddedServerError
from perdure.errors import InvalidArgument as InvalidArgument
from perdure.errors import InvalidPayload as InvalidPayload
from perdure.errors import KeyTaken as KeyTaken
from perdure.errors import LeaseLost as LeaseLost
from perdure.errors import NewerCheckpoint as NewerCheckpoint
from perdure.errors import NotPermitted as NotPermitted
from perdure.errors import PerdureError as PerdureError
from perdure.errors import QueueFull as QueueFull
from perdure.errors import RegistrationError as RegistrationError
from perdure.errors import SchemaMismatch as SchemaMismatch
from perdure.errors import TaskCancelled as TaskCancelled
from perdure.errors import TaskFailed as TaskFailed
from perdure.errors import TaskNotFound as TaskNotFound
from perdure.errors import TaskStopped as TaskStopped
from perdure.errors import TooLarge as TooLarge
from perdure.errors import UnencodableValue as UnencodableValue
from perdure.errors import UnknownOutcome as UnknownOutcome
from perdure.service import TaskService as TaskService
from perdure.tasks.outcomes import Cancelled as Cancelled
from perdure.tasks.outcomes import Failure as Failure
from perdure.tasks.outcomes import Outcome as Outcome
from perdure.tasks.outcomes import Retry as Retry
from perdure.tasks.outcomes import Success as Success
from perdure.tasks.outcomes import Suspended as Suspended
from perdure.tasks.policies import UNLIMITED as UNLIMITED
from perdure.tasks.policies import Delays as Delays
from perdure.tasks.policies import Exponential as Exponential
from perdure.tasks.policies import Linear as Linear

__version__: str
