"""`/v2.0/metering/…`: labels and the rules below them. Neither is ever changed."""

from naru.api.collections import Collection
from naru.model.metering import MeteringLabel, MeteringLabelRule
from naru.service.metering import create_label, create_rule, delete_label, delete_rule

METERING = (
    Collection(MeteringLabel, create_label, None, delete_label, path="metering/metering-labels"),
    Collection(MeteringLabelRule, create_rule, None, delete_rule, path="metering/metering-label-rules"),
)
