"""A text field that writes its content to a file whenever it changes."""
import os
import sys
import tkinter

path, title, pastes = sys.argv[1:4]
root = tkinter.Tk(className=title)
root.title(title)
field = tkinter.Text(root, undo=False)
field.pack(fill="both", expand=True)
field.focus_force()
if pastes == "no":
    field.bind("<Control-v>", lambda event: "break")
last = None


def record():
    global last
    content = field.get("1.0", "end-1c")
    if content != last:
        with open(path + ".new", "w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(content)
        os.rename(path + ".new", path)
        last = content
    root.after(10, record)


def select(event):
    field.tag_add("sel", "1.0", "1.5")
    return "break"


def copy(event):
    root.clipboard_clear()
    root.clipboard_append("fett \u2014 \u6f22")
    root.clipboard_append("<b>bold</b>", type="text/html")


field.bind("<F5>", select)
field.bind("<F6>", copy)
record()
root.mainloop()
