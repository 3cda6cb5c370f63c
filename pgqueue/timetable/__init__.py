"""When something is due: cron, intervals, time zones, and what is done about missed ticks."""
