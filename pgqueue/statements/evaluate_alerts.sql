-- Measure the alerts, write down what has changed and tell it. Returns how many changed.
SELECT pgqueue.evaluate_alerts()
