"""The first governed call: no model, no key, no other library."""

from tollgate_client import Refused, Tollgate

with Tollgate() as tollgate:
    try:
        with tollgate.run("weekly-report", estimated_cost_usd="0.05") as run:
            print("admitted, reserved", run.reserved_usd)
            run.spent(cost_usd="0.031")  # what the work cost
        print("settled at", run.settlement.cost_usd)
    except Refused as refusal:
        print("refused:", refusal)
