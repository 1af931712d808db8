"""The OCR head against its equations, pixel by pixel."""

from __future__ import annotations

import math

import torch

from models.operators.object_context import ObjectContextHead
from models.spec.operators import OperatorSpec
from models.testing.supernets import disturb


def test_each_pixel_attends_to_the_regions_of_the_classes() -> None:
    torch.manual_seed(0)
    shape = {"in_channels": 6, "out_channels": 3, "height": 3, "width": 4}
    spec = OperatorSpec(kind="object_context_head", **shape, attributes={"channels": 5, "keys": 2})
    head = disturb(ObjectContextHead(spec)).double().eval()
    x = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        first, pixels = head.regions(x)[0], head.pixels(x)[0]
        places = [(row, column) for row in range(3) for column in range(4)]
        regions = []
        for scores in first:
            parts = {place: math.exp(scores[place]) for place in places}
            regions.append(sum(part / sum(parts.values()) * pixels[:, *place] for place, part in parts.items()))
        objects = torch.stack(regions, dim=1)[None, :, :, None]
        keys, values, queries = head.key(objects)[0, :, :, 0], head.value(objects)[0, :, :, 0], head.query(pixels[None])[0]
        context = torch.zeros(1, 2, 3, 4, dtype=torch.float64)
        for place in places:
            related = [math.exp(float(queries[:, *place] @ keys[:, region]) / math.sqrt(2)) for region in range(3)]
            context[0, :, *place] = sum(part / sum(related) * values[:, region] for region, part in enumerate(related))
        expected = head.classify(head.fusion(torch.cat([head.context(context), pixels[None]], dim=1)))
        torch.testing.assert_close(head(x), expected)
