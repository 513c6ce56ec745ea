"""Objectives, rules, alerts and dashboards as data, and what is made of them."""
