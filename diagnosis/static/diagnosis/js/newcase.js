// The new case page: fields and drop zone are one form.

import { UploadList, acceptFiles, openCaseFirst } from "./upload.js";

const form = document.querySelector("form[data-upload]");
const list = new UploadList(form);
acceptFiles(form, list);
openCaseFirst(form, list);
