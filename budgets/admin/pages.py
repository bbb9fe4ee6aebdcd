"""Addresses of pages that are no page of one row; under /admin/, behind the admin's login."""

from django.contrib import admin
from django.urls import path

from budgets.admin.daily_report_page import daily_report_csv, daily_report_page

behind = admin.site.admin_view

urlpatterns = [
    path("daily-report/", behind(daily_report_page), name="daily-report-page"),
    path("daily-report/csv/", behind(daily_report_csv), name="daily-report-csv"),
]
