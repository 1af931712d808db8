"""A backend: torch, each operator run before it is timed, so that its weights are in the caches."""

from profiler_service.backends.torch_cpu import TorchBackend
from toy_plugin.backend import WarmOptions


class WarmTorch(TorchBackend):
    name = "warm_torch"
    options_type = WarmOptions
    options: WarmOptions

    def target(self):
        target = self.torch_target({"warm_runs": str(self.options.warm_runs)})
        return target.model_copy(update={"versions": {**target.versions, self.name: "1.0"}})

    def time_pass(self, engines):
        times_ms = []
        for engine in engines:
            for _ in range(self.options.warm_runs):
                engine.run()
            times_ms += super().time_pass([engine])
        return times_ms
