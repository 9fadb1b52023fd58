"""Views that have services do the work."""

import json

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from rpcservice import RemoteError
from shopsite.clients import cluster, dispatch


@csrf_exempt
@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    order = json.loads(request.body)
    try:
        placed = cluster.orders.place(order["sku"], order["quantity"])
    except RemoteError as exc:
        return JsonResponse({"error": f"{exc.exc_type}: {exc.value}"}, status=422)
    return JsonResponse(placed, status=201)


@require_GET
def show_product(request: HttpRequest, sku: str) -> JsonResponse:
    dispatch("website", "page_viewed", {"page": request.path})
    return JsonResponse({"sku": sku})
