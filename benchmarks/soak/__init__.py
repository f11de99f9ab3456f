"""The loop under load for a while: three sites, deliveries, rollbacks and monitoring, with faults at random."""
