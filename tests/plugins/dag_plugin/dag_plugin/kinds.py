"""The operator kinds as data. No torch: the service's own process reads this."""

from models.spec.kinds import KindInfo

ATTENTION = KindInfo("attention", strides=(1,), keeps_channels=True, builder="dag_plugin.modules:Attention")
SWEEP = KindInfo("sweep", strides=(1,), keeps_channels=True, builder="dag_plugin.modules:Sweep")
