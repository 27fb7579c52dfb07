document.querySelector("#app").textContent = `asks ${import.meta.env.VITE_API_URL}`;
