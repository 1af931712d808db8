"""The errors of the client.

::

    NasClientError
    ├── ServiceError                the service answered with an error; carries its code, message, hint and request id
    ├── UnreachableError            nothing answers, or not in time
    ├── IncompatibleServiceError    it speaks another version of the interface, or is no profiler service
    ├── TableChoiceError            no table, or more than one, fits what was asked; or none has that name
    ├── ParameterError              α, β, γ of the wrong shape, or not finite
    ├── SensitivityError            a granularity, or the entire table, makes no difference, and nothing can be weighed by it
    ├── ReportError                 a folder holds nothing to report on
    ├── ExperimentError             a run of an experiment failed, or the experiment does not fit its folder
    ├── CalibrationError            too few measured architectures to fit or to judge
    ├── DatasetError                a folder, file or label of a data set is not what its owner distributes
    ├── ShapeError                  tensors of shapes that do not belong together
    ├── RunFolderError              a folder does not say that it holds the run that was asked for
    ├── CheckpointError             a checkpoint is damaged, of another version, or of another configuration
    ├── DivergenceError             a loss is not a number
    ├── ProcessesError              the processes of one run do not agree
    ├── TrainingError               a folder, data set or teacher does not fit a training
    ├── ExportCheckError            an exported graph does not compute what torch does, or cannot be checked
    └── JobFailedError              the job that was waited for failed or was cancelled
"""

from __future__ import annotations

from models.spec.errors import ErrorCode, ExitCode, OpclockError

_SERVICE_CANNOT = frozenset(
    {ErrorCode.BUSY, ErrorCode.STORAGE, ErrorCode.BACKEND_UNAVAILABLE, ErrorCode.UNREACHABLE, ErrorCode.INTERNAL}
)
"""Errors that are the service's own: whatever is asked, it cannot serve now. All others are about what was asked."""

PASSING = frozenset(
    {
        *(ErrorCode.BUSY, ErrorCode.STORAGE, ErrorCode.BACKEND_UNAVAILABLE),
        *(ErrorCode.QUEUE_FULL, ErrorCode.TOO_MANY_REQUESTS),
    }
)
"""Codes of what a service answers by 429 and 503: the same call may succeed later."""


class NasClientError(OpclockError):
    """The root of this package's errors."""


class ServiceError(NasClientError):
    """The service answered with an error."""

    def __init__(self, message: str, *, hint: str = "", code: ErrorCode = ErrorCode.INTERNAL, request_id: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.request_id = request_id
        if code in _SERVICE_CANNOT:
            self.exit_code = ExitCode.UNREACHABLE


class UnreachableError(NasClientError):
    """Nothing answers at that address, or not in time."""

    code = ErrorCode.UNREACHABLE
    exit_code = ExitCode.UNREACHABLE


class IncompatibleServiceError(NasClientError):
    """Whatever answers speaks another version of the interface, or is no profiler service."""

    code = ErrorCode.INCOMPATIBLE
    exit_code = ExitCode.UNREACHABLE


class TableChoiceError(NasClientError):
    """No table, or more than one, fits what was asked; or none has that name."""

    code = ErrorCode.NOT_FOUND


class ParameterError(NasClientError):
    """Architecture parameters of the wrong shape, or not finite."""

    code = ErrorCode.INVALID_REQUEST


class SensitivityError(NasClientError):
    """A granularity makes no difference in a table, and no weights balance it; or all of the table is zero."""

    code = ErrorCode.INVALID_REQUEST


class ReportError(NasClientError):
    """A folder holds nothing to report on."""

    code = ErrorCode.NOT_FOUND


class ExperimentError(NasClientError):
    """A run of an experiment failed, or the experiment does not fit its folder."""

    code = ErrorCode.CONFLICT


class CalibrationError(NasClientError):
    """Too few measured architectures to fit or to judge."""

    code = ErrorCode.INVALID_REQUEST


class DatasetError(NasClientError):
    """A folder, file or label of a data set is missing, or is not what the data set's owner distributes."""

    code = ErrorCode.INVALID_REQUEST


class ShapeError(NasClientError, ValueError):
    """Tensors of shapes that do not belong together."""

    code = ErrorCode.INVALID_REQUEST


class RunFolderError(NasClientError):
    """A folder does not say what run it holds, or holds one of another kind or format."""

    code = ErrorCode.CONFLICT


class CheckpointError(NasClientError):
    """A checkpoint is damaged, of another version, or was saved under another configuration."""

    code = ErrorCode.CONFLICT


class DivergenceError(NasClientError):
    """A loss is not a number; the run ended before it was saved."""

    code = ErrorCode.INVALID_REQUEST
    exit_code = ExitCode.WORKLOADS_FAILED


class ProcessesError(NasClientError):
    """The processes of one run do not agree on what they run."""

    code = ErrorCode.CONFLICT


class TrainingError(NasClientError):
    """A folder, data set or teacher does not fit a training."""

    code = ErrorCode.INVALID_REQUEST


class ExportCheckError(NasClientError):
    """An exported graph does not compute what the torch network does, or there is nothing to check it with."""


class JobFailedError(NasClientError):
    """The job that was waited for failed or was cancelled."""

    exit_code = ExitCode.WORKLOADS_FAILED
