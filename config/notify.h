/* Tells systemd how far the start has come (pure): sd_notify(3) without its library. Any thread. */
#ifndef CONFIG_NOTIFY_H
#define CONFIG_NOTIFY_H

/* state: "READY=1" when the gateway answers, "STOPPING=1" when it begins to end; "STATUS=text" may follow on
 * a line of its own. Does nothing when no service manager asked to be told. 0 or -errno. */
int notify(const char *state);

#endif
