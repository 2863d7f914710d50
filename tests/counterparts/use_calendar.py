"""A calendar client that knows nothing of writ: lists, creates and deletes events at the URL it is given."""

import datetime
import sys

import caldav
from caldav.lib import error

url, what = sys.argv[1:3]
client = caldav.DAVClient(url=url)
calendar = client.principal().calendars()[0]
try:
    match what:
        case "list":
            for event in calendar.events():
                print("event:", event.vobject_instance.vevent.summary.value)
        case "create":
            start = datetime.datetime(2026, 12, 1, 10)
            calendar.save_event(dtstart=start, dtend=start + datetime.timedelta(hours=1), summary=sys.argv[3])
            print("created")
        case "delete":
            calendar.events()[0].delete()
            print("deleted")
except (error.DAVError,) as refused:
    print("refused:", type(refused).__name__, str(refused)[:300])
    sys.exit(3)
