"""Which view answers what."""

from django.urls import path

from shopsite import views

urlpatterns = [
    path("orders", views.place_order),
    path("products/<slug:sku>", views.show_product),
]
