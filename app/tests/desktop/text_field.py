"""A text field that writes what it holds to a file at every change: text_field.py TITLE FILE."""
import os
import sys
import tkinter

title, path = sys.argv[1:]
root = tkinter.Tk()
root.title(title)
field = tkinter.Text(root, width=80, height=20)
field.pack()
field.focus_set()


def save(_event=None):
    # Whole, or not at all: somebody reads it meanwhile.
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(field.get("1.0", "end-1c"))
    os.rename(path + ".new", path)
    field.edit_modified(False)


field.bind("<<Modified>>", save)
save()
root.mainloop()
